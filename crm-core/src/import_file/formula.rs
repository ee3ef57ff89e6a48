use std::borrow::Cow;

/// Makes a text harmless to a spreadsheet: opened in one, it is not taken for a formula.
///
/// An apostrophe is put before `=` `+` `-` `@` (and their full-width forms), tabulator, carriage return and line feed
/// where they begin the text, spaces and apostrophes before them not counting; and before `=` `+` `-` `@` that follow a
/// separator, a quote or a line end inside, because a spreadsheet with another separator begins a cell there. A text that
/// already has apostrophes there gets one more, so that [`undefuse`] gives back every text as it was.
#[must_use]
pub fn defuse(text: &str) -> Cow<'_, str> {
    let mut places = Places::new(text, false);
    let Some(first) = places.next() else { return Cow::Borrowed(text) };
    let mut harmless = String::with_capacity(text.len() + 4);
    let mut done = 0;
    for place in std::iter::once(first).chain(places) {
        harmless.push_str(text.get(done..place).unwrap_or_default());
        harmless.push('\'');
        done = place;
    }
    harmless.push_str(text.get(done..).unwrap_or_default());
    Cow::Owned(harmless)
}

/// Takes back what [`defuse`] did. A text that it cannot have made stays as it is.
#[must_use]
pub fn undefuse(text: &str) -> Cow<'_, str> {
    let mut places = Places::new(text, true);
    let Some(first) = places.next() else { return Cow::Borrowed(text) };
    let mut original = String::with_capacity(text.len());
    let mut done = 0;
    for place in std::iter::once(first).chain(places) {
        original.push_str(text.get(done..place).unwrap_or_default());
        done = place + 1;
    }
    original.push_str(text.get(done..).unwrap_or_default());
    Cow::Owned(original)
}

const fn acts(character: char) -> bool {
    matches!(character, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠')
}

const fn acts_first(character: char) -> bool {
    acts(character) || matches!(character, '\t' | '\r' | '\n')
}

const fn begins_cell(character: char) -> bool {
    matches!(character, ',' | ';' | '|' | '\t' | '\r' | '\n' | '"')
}

/// Where the runs of apostrophes (and at the start spaces, also runs of none) begin that stand where a cell may begin and
/// are followed by what acts; `guarded` wants only those that begin with an apostrophe.
struct Places<'a> {
    text: &'a str,
    at: usize,
    guarded: bool,
    first: bool,
}

impl<'a> Places<'a> {
    const fn new(text: &'a str, guarded: bool) -> Self {
        Self { text, at: 0, guarded, first: true }
    }
}

impl Iterator for Places<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            let is_first = std::mem::replace(&mut self.first, false);
            let rest = self.text.get(self.at..)?;
            if !is_first {
                self.at += rest.find(begins_cell)? + 1;
            }
            let place = self.at;
            let run = self.text.get(place..)?;
            let after = if is_first { run.trim_start_matches(['\'', ' ']) } else { run.trim_start_matches('\'') };
            let is_met = after.starts_with(if is_first { acts_first } else { acts });
            if is_met && (!self.guarded || run.starts_with('\'')) {
                return Some(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("=1+1", "'=1+1")]
    #[case("+cmd", "'+cmd")]
    #[case("-1", "'-1")]
    #[case("@SUM(A1)", "'@SUM(A1)")]
    #[case("\t=1", "'\t'=1")]
    #[case("\rx", "'\rx")]
    #[case("'=1", "''=1")]
    #[case("  =1", "'  =1")]
    #[case("＝1", "'＝1")]
    #[case("a;=1", "a;'=1")]
    #[case("\"=1\"", "\"'=1\"")]
    #[case("a,''-1", "a,'''-1")]
    #[case("a - b = c", "a - b = c")]
    #[case("O'Hara", "O'Hara")]
    #[case("'quoted'", "'quoted'")]
    #[case("", "")]
    fn harmless(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(defuse(text), expected);
        assert_eq!(undefuse(expected), text);
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in "[-=+@' ,;\"\t\r\nab＝]{0,12}|.*") {
            let harmless = defuse(&text);
            prop_assert_eq!(undefuse(&harmless), text.as_str());
            prop_assert!(!harmless.trim_start_matches(' ').starts_with(acts_first));
        }

        #[test]
        fn foreign_texts_do_not_panic(text in "[-=+@' ,;\"\t\r\nab＝]{0,12}|.*") {
            let _ = undefuse(&text);
        }
    }
}
