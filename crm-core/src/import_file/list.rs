use std::fmt::Write as _;

const fn separates(character: char) -> bool {
    matches!(character, ';' | '|')
}

/// Adds a list as one cell: its elements with `;` between. A `;`, `|` or `\` in an element has a `\` before it.
pub fn join_list<'a>(elements: impl IntoIterator<Item = &'a str>, cell: &mut String) {
    for (position, element) in elements.into_iter().enumerate() {
        if position > 0 {
            cell.push(';');
        }
        if element.contains(|character: char| separates(character) || character == '\\') {
            for character in element.chars() {
                let escape = if separates(character) || character == '\\' { "\\" } else { "" };
                // Writing to a string cannot fail.
                let _ = write!(cell, "{escape}{character}");
            }
        } else {
            cell.push_str(element);
        }
    }
}

/// The elements of a cell, split at `;` and `|`, trimmed, empty ones left out. Takes back what [`join_list`] did; a `\`
/// before another character is itself.
#[must_use]
pub fn split_list(cell: &str) -> Vec<String> {
    let mut elements = Vec::new();
    let mut element = String::new();
    let mut characters = cell.chars().peekable();
    while let Some(character) = characters.next() {
        if separates(character) {
            elements.push(std::mem::take(&mut element));
            continue;
        }
        let escaped = characters.next_if(|next| character == '\\' && (separates(*next) || *next == '\\'));
        element.push(escaped.unwrap_or(character));
    }
    elements.push(element);
    elements.into_iter().map(|element| element.trim().to_owned()).filter(|element| !element.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", &[])]
    #[case("vip", &["vip"])]
    #[case(" vip ; new|late ;; ", &["vip", "new", "late"])]
    #[case(r"a\;b;c\\", &["a;b", r"c\"])]
    #[case(r"C:\temp", &[r"C:\temp"])]
    fn splits(#[case] cell: &str, #[case] expected: &[&str]) {
        assert_eq!(split_list(cell), expected);
    }

    proptest! {
        #[test]
        fn every_list_comes_back(list in prop::collection::vec(r"[^\s\p{Cc}]([;|\\a ]{0,6}[^\s\p{Cc}])?", 0..6)) {
            let mut cell = String::new();
            join_list(list.iter().map(String::as_str), &mut cell);
            prop_assert_eq!(split_list(&cell), list);
        }
    }
}
