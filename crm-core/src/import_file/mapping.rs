use std::collections::HashMap;

use super::synonyms::{COMPANY, SYNONYMS};
use crate::store::fold::fold;

/// A field that a column of a file can be read into.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ImportField<'a> {
    /// Its name, such as `email` or `custom.city`.
    pub name: &'a str,
    /// Its name for people, where it has another.
    pub label: Option<&'a str>,
    /// Whether several columns can go into it.
    pub many: bool,
}

/// Guesses which field each column is, as places in `fields`; nothing for a column that looks like none.
///
/// Names are compared without case, accents, spaces and punctuation. A column that has a field's own name, with or without
/// `custom.` before it, gets it before one that has its label, and that before one that people commonly give it, in one
/// of several languages. No two columns get a field that takes one. Columns of a first and a last name are left
/// out where there is one of the whole name.
#[must_use]
pub fn guess_mapping(headers: &[String], fields: &[ImportField<'_>]) -> Vec<Option<usize>> {
    let plain: Vec<String> = headers.iter().map(|header| plain(header)).collect();
    let mut guess = Guess { fields, columns: vec![None; headers.len()], taken: vec![false; fields.len()] };
    guess.pass(|column| headers.get(column).map(|header| fields_named(fields, |field| field.name == header.trim())));
    guess.pass(|column| plain.get(column).map(|header| fields_named(fields, |field| is_named(field, header))));
    guess.pass(|column| {
        let header = plain.get(column)?;
        Some(fields_named(fields, |field| field.label.is_some_and(|label| self::plain(label) == *header)))
    });
    let places: HashMap<&str, usize> = fields.iter().enumerate().map(|(place, field)| (field.name, place)).collect();
    let has =
        |guess: &Guess<'_>, name: &str| places.get(name).is_some_and(|place| guess.columns.contains(&Some(*place)));
    let called = |header: &str| {
        let named = SYNONYMS.iter().filter(|(_, synonyms)| synonyms.contains(&header));
        named.filter_map(|(name, _)| places.get(name).copied()).collect::<Vec<_>>()
    };
    guess.pass(|column| Some(called(plain.get(column)?)));
    // "E-mail 2" is a further e-mail.
    guess.pass(|column| {
        let header = plain.get(column)?.trim_end_matches(|character: char| character.is_ascii_digit());
        let found = fields_named(fields, |field| is_named(field, header)).into_iter().chain(called(header));
        let takes_several =
            |place: &usize| fields.get(*place).is_some_and(|field| field.many || further(field).is_some());
        Some(found.filter(takes_several).collect())
    });
    if ["name", "first_name", "last_name"].iter().all(|name| !has(&guess, name)) {
        guess.pass(|column| {
            COMPANY.contains(&plain.get(column)?.as_str()).then(|| places.get("name").copied().into_iter().collect())
        });
    }
    if has(&guess, "name") {
        guess.forget(["first_name", "last_name"].iter().filter_map(|name| places.get(name).copied()));
    }
    guess.columns
}

struct Guess<'a> {
    fields: &'a [ImportField<'a>],
    columns: Vec<Option<usize>>,
    taken: Vec<bool>,
}

impl Guess<'_> {
    fn is_taken(&self, place: usize) -> bool {
        self.taken.get(place).copied().unwrap_or(true)
    }

    /// Gives each column that has none the first of its candidates that is free.
    fn pass(&mut self, candidates: impl Fn(usize) -> Option<Vec<usize>>) {
        for column in 0..self.columns.len() {
            if self.columns.get(column).copied().flatten().is_some() {
                continue;
            }
            let candidates = candidates(column).unwrap_or_default();
            let further = candidates.iter().filter_map(|place| self.further(*place));
            let mut free = candidates.iter().copied().chain(further);
            let free =
                free.find(|place| self.fields.get(*place).is_some_and(|field| field.many) || !self.is_taken(*place));
            let Some(place) = free else { continue };
            if let (Some(column), Some(taken)) = (self.columns.get_mut(column), self.taken.get_mut(place)) {
                *column = Some(place);
                *taken = true;
            }
        }
    }

    /// Where a second column of the field goes.
    fn further(&self, place: usize) -> Option<usize> {
        let further = further(self.fields.get(place)?)?;
        self.fields.iter().position(|field| field.name == further)
    }

    fn forget(&mut self, places: impl Iterator<Item = usize>) {
        for place in places {
            self.columns.iter_mut().filter(|column| **column == Some(place)).for_each(|column| *column = None);
        }
    }
}

/// What a second column of the field is.
fn further(field: &ImportField<'_>) -> Option<&'static str> {
    match field.name {
        "email" => Some("emails"),
        "phone" => Some("phones"),
        _ => None,
    }
}

fn fields_named(fields: &[ImportField<'_>], is_meant: impl Fn(&ImportField<'_>) -> bool) -> Vec<usize> {
    fields.iter().enumerate().filter(|(_, field)| is_meant(field)).map(|(place, _)| place).collect()
}

fn is_named(field: &ImportField<'_>, header: &str) -> bool {
    !header.is_empty()
        && (plain(field.name) == header || field.name.strip_prefix("custom.").is_some_and(|key| plain(key) == header))
}

/// A name without what people write in different ways.
fn plain(name: &str) -> String {
    fold(name).chars().filter(|character| character.is_alphanumeric()).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const FIELDS: [&str; 16] = [
        "name",
        "first_name",
        "last_name",
        "email",
        "emails",
        "phone",
        "phones",
        "status",
        "type",
        "tags",
        "spend",
        "visits",
        "last_active",
        "custom.city",
        "custom.birth_date",
        "custom.name",
    ];

    #[test]
    fn synonyms_are_written_as_they_are_compared() {
        for word in SYNONYMS.iter().flat_map(|(_, words)| *words).chain(COMPANY) {
            assert_eq!(plain(word), *word);
        }
    }

    fn guess(headers: &[&str]) -> Vec<Option<&'static str>> {
        let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
        let fields = FIELDS.map(|name| ImportField {
            name,
            label: (name == "custom.city").then_some("Wohnort (Stadt)"),
            many: matches!(name, "emails" | "phones" | "tags"),
        });
        let guessed = guess_mapping(&headers, &fields);
        guessed.into_iter().map(|place| place.map(|place| FIELDS[place])).collect()
    }

    #[rstest]
    #[case(&["name", "email"], &[Some("name"), Some("email")])]
    #[case(&["Full Name", "E-Mail", "Mobile", "Nonsense", ""], &[Some("name"), Some("email"), Some("phone"), None, None])]
    #[case(&["Nombre completo", "Correo electrónico", "Teléfono"], &[Some("name"), Some("email"), Some("phone")])]
    #[case(&["First Name", "Surname", "E-mail"], &[Some("first_name"), Some("last_name"), Some("email")])]
    #[case(&["First Name", "Last Name", "Customer"], &[None, None, Some("name")])]
    #[case(&["email", "E-mail", "Email 2", "email"], &[Some("email"), Some("emails"), Some("emails"), Some("emails")])]
    #[case(&["Phone", "Mobile", "phones"], &[Some("phone"), Some("phones"), Some("phones")])]
    #[case(&["custom.city", "City"], &[Some("custom.city"), None])]
    #[case(&["CITY", "Birth-Date"], &[Some("custom.city"), Some("custom.birth_date")])]
    #[case(&["wohnort stadt", "NAME", "Status", "Kundentyp"], &[Some("custom.city"), Some("name"), Some("status"), Some("type")])]
    #[case(&["name", "custom.name"], &[Some("name"), Some("custom.name")])]
    #[case(&["नाम", "फ़ोन", "ईमेल"], &[Some("name"), Some("phone"), Some("email")])]
    #[case(&["Company", "First name", "Last name"], &[None, Some("first_name"), Some("last_name")])]
    #[case(&["Company", "State"], &[Some("name"), None])]
    #[case(&["Total spent", "Last visit", "Labels"], &[Some("spend"), Some("last_active"), Some("tags")])]
    fn guesses(#[case] headers: &[&str], #[case] expected: &[Option<&str>]) {
        assert_eq!(guess(headers), expected);
    }
}
