//! The numbering plans of the world, and the countries where one telephone has several numbers.

use phonenumber::metadata::{DATABASE, Metadata};

/// What is wrong with a run of digits as a telephone number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mismatch {
    /// No country has the calling code.
    UnknownCode,
    /// The country's numbers are of other lengths.
    Length,
}

/// A number in international form: the calling code and the number within the country.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct International<'a> {
    pub(super) code: &'a str,
    pub(super) national: &'a str,
}

/// Splits digits after the calling code.
pub(super) fn split(digits: &str) -> Option<International<'_>> {
    // E.164: codes have one to three digits and none is the beginning of another.
    (1..=3).find_map(|length| {
        let (code, national) = digits.split_at_checked(length)?;
        let value: u16 = code.parse().ok()?;
        (!code.starts_with('0') && DATABASE.by_code(&value).is_some()).then_some(International { code, national })
    })
}

fn plans(code: &str) -> Vec<&'static Metadata> {
    code.parse::<u16>().ok().and_then(|code| DATABASE.by_code(&code)).unwrap_or_default()
}

/// Whether the plan's pattern takes in the whole number; the crate's own test is content with its beginning.
fn fits(plan: &Metadata, national: &str) -> bool {
    let whole = plan.descriptors().general().national_number().find(national);
    has_possible_length(plan, national)
        && whole.is_some_and(|found| found.start() == 0 && found.end() == national.len())
}

/// Whether some kind of number in the plan is as long; the tables give lengths by kind only.
fn has_possible_length(plan: &Metadata, national: &str) -> bool {
    let length = u16::try_from(national.len()).unwrap_or(u16::MAX);
    let kinds = plan.descriptors();
    [
        kinds.fixed_line(),
        kinds.mobile(),
        kinds.toll_free(),
        kinds.premium_rate(),
        kinds.shared_cost(),
        kinds.personal_number(),
        kinds.voip(),
        kinds.pager(),
        kinds.uan(),
    ]
    .into_iter()
    .flatten()
    .any(|kind| kind.possible_length().contains(&length))
}

/// The number within the country without what is only dialled at home: the trunk prefix, a carrier's code, the
/// Argentinian 15. Nothing where there is none of it.
fn without_trunk_prefix(plan: &Metadata, national: &str) -> Option<String> {
    let Some(pattern) = plan.national_prefix_for_parsing() else {
        let rest = national.strip_prefix(plan.national_prefix()?)?;
        return Some(rest.to_owned());
    };
    let captures = pattern.captures(national)?;
    let whole = captures.get(0).filter(|whole| whole.start() == 0 && whole.end() > 0)?;
    let rest = national.get(whole.end()..)?;
    match plan.national_prefix_transform_rule() {
        Some(rule) if captures.get(captures.len() - 1).is_some() => {
            let mut changed = String::new();
            let mut characters = rule.chars();
            while let Some(character) = characters.next() {
                if character == '$' {
                    let group = characters.next().and_then(|digit| digit.to_digit(10)).unwrap_or(0);
                    let group = captures.get(usize::try_from(group).unwrap_or(0));
                    changed.push_str(group.map_or("", |group| group.as_str()));
                } else {
                    changed.push(character);
                }
            }
            changed.push_str(rest);
            Some(changed)
        }
        _ => Some(rest.to_owned()),
    }
}

/// The digits of E.164 for digits that begin with a calling code.
pub(super) fn international(digits: &str) -> Result<String, Mismatch> {
    let International { code, national } = split(digits).ok_or(Mismatch::UnknownCode)?;
    let plans = plans(code);
    // Mexico did away with the 1 of mobiles in 2019; messengers still write it.
    let fits_as_it_is = |national: &str| plans.iter().any(|plan| fits(plan, national));
    if fits_as_it_is(national) || code == "52" && national.strip_prefix('1').is_some_and(fits_as_it_is) {
        return Ok(digits.to_owned());
    }
    let trimmed =
        plans.iter().find_map(|plan| without_trunk_prefix(plan, national).filter(|trimmed| fits(plan, trimmed)));
    match trimmed {
        Some(trimmed) => Ok(format!("{code}{trimmed}")),
        // A number of the right length may be newer than the tables.
        None if plans.iter().any(|plan| has_possible_length(plan, national)) => Ok(digits.to_owned()),
        None => Err(Mismatch::Length),
    }
}

/// The digits of E.164 for digits dialled in a country.
pub(super) fn national(country: &str, digits: &str) -> Result<String, Mismatch> {
    let plan = DATABASE.by_id(country).ok_or(Mismatch::UnknownCode)?;
    let code = plan.country_code().to_string();
    let abroad = plan
        .international_prefix()
        .and_then(|prefix| prefix.find(digits).filter(|found| found.start() == 0 && found.end() > 0))
        .and_then(|found| digits.get(found.end()..))
        .filter(|rest| !rest.starts_with('0'));
    let home = without_trunk_prefix(plan, digits).filter(|trimmed| fits(plan, trimmed));
    if let Some(trimmed) = home {
        return international(&format!("{code}{trimmed}"));
    }
    if fits(plan, digits) {
        return international(&format!("{code}{digits}"));
    }
    if let Some(found) = abroad.and_then(|rest| international(rest).ok()) {
        return Ok(found);
    }
    if let Some(rest) = digits.strip_prefix(&code)
        && fits(plan, rest)
    {
        return international(digits);
    }
    let trimmed = without_trunk_prefix(plan, digits).filter(|trimmed| has_possible_length(plan, trimmed));
    international(&format!("{code}{}", trimmed.as_deref().unwrap_or(digits)))
}

/// The digits in which the variants of one number are equal.
///
/// - Brazil put a 9 before its eight-digit mobile numbers between 2012 and 2016: it is left out.
/// - Mexico had a 1 before mobile numbers dialled from abroad until 2019: it is left out.
/// - Argentina has a 9 after the code for mobiles from abroad and a 15 after the area at home: both are left out.
pub(super) fn match_key(digits: &str) -> String {
    let Some(International { code, national }) = split(digits) else {
        return digits.to_owned();
    };
    let key = match code {
        "55" => brazil(national),
        "52" if national.len() == 11 => national.strip_prefix('1').map(str::to_owned),
        "54" => argentina(national),
        _ => None,
    };
    key.map_or_else(|| digits.to_owned(), |national| format!("{code}{national}"))
}

/// Two digits of the area, the 9, and a mobile number of the old form, which begins with 6 to 9. A 9 before other
/// digits stays, else a mobile number would become a fixed one.
fn brazil(national: &str) -> Option<String> {
    let (area, number) = national.split_at_checked(2)?;
    let old = number.strip_prefix('9').filter(|old| old.len() == 8 && old.starts_with(['6', '7', '8', '9']))?;
    Some(format!("{area}{old}"))
}

fn argentina(national: &str) -> Option<String> {
    let mobile = match national.len() {
        10 => return None,
        11 => national.to_owned(),
        // The area has two to four digits: the plan knows where the 15 stands.
        _ => without_trunk_prefix(DATABASE.by_id("AR")?, national)?,
    };
    mobile.strip_prefix('9').filter(|rest| rest.len() == 10).map(str::to_owned)
}
