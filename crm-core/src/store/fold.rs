//! Folding: the form of a text in which case and accents make no difference.
//!
//! `contains`, `starts_with`, `search` and sorting by text look at the folded form, so that no engine's
//! collation decides anything. It is made once, when a text is written, and kept beside it. A folded text is
//! for comparing, never for showing.

use caseless::Caseless as _;
use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};
use unicode_script::{Script, UnicodeScript as _};

/// Folds a text: compatibility decomposition (NFKD), combining marks left out after Latin, Greek and Cyrillic
/// letters (in other scripts they are letters, as the vowels of Hindi), full case folding.
///
/// Folding a folded text changes nothing: `fold(&fold(x)) == fold(x)`.
///
/// ```
/// use crm_core::store::fold::fold;
///
/// assert_eq!(fold("José GROẞ"), "jose gross");
/// assert_eq!(fold("हिन्दी"), "हिन्दी");
/// ```
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // One pass is nearly always enough; case folding can yield letters that decompose again.
    let mut folded = pass(text);
    loop {
        let again = pass(&folded);
        if again == folded {
            return folded;
        }
        folded = again;
    }
}

/// The first text after all those that begin with the prefix, in the order of code points; nothing where there is none.
#[must_use]
pub fn end_of_prefix(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        let next = match last {
            '\u{10ffff}' => continue,
            '\u{d7ff}' => '\u{e000}',
            other => char::from_u32(u32::from(other) + 1)?,
        };
        characters.push(next);
        return Some(characters.into_iter().collect());
    }
    None
}

fn pass(text: &str) -> String {
    let mut bare = String::with_capacity(text.len());
    let mut drops_marks = false;
    for character in text.nfkd() {
        if is_combining_mark(character) {
            if drops_marks {
                continue;
            }
        } else {
            drops_marks = matches!(character.script(), Script::Latin | Script::Greek | Script::Cyrillic);
        }
        bare.push(character);
    }
    bare.chars().default_case_fold().nfkd().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::fold;

    #[rstest]
    #[case("", "")]
    #[case("Plain ASCII 42", "plain ascii 42")]
    #[case("José", "jose")]
    #[case("Jose\u{301}", "jose")]
    #[case("Straße", "strasse")]
    #[case("İstanbul", "istanbul")]
    #[case("ﬁne", "fine")]
    #[case("Ｆｕｌｌ", "full")]
    #[case("ΌΣΟΣ", "οσοσ")]
    #[case("Ёлка Й", "елка и")]
    #[case("हिन्दी", "हिन्दी")]
    #[case("é\u{301}\u{302}x", "ex")]
    #[case("\u{301}alone", "\u{301}alone")]
    #[case("👩\u{200d}🔬", "👩\u{200d}🔬")]
    #[case("50% _a\\b'", "50% _a\\b'")]
    fn folds(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(fold(text), expected);
    }

    #[test]
    fn composed_and_decomposed_hindi_are_alike() {
        assert_eq!(fold("\u{958}"), fold("\u{915}\u{93c}"));
        assert_ne!(fold("कि"), fold("क"));
    }

    #[test]
    fn every_character_folds_to_a_stable_form() {
        for character in '\0'..='\u{2ffff}' {
            let once = fold(&character.to_string());
            assert_eq!(fold(&once), once, "{character:?}");
        }
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing(text in any::<String>()) {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }

        #[test]
        fn case_makes_no_difference(text in "[a-zA-Zà-üÀ-Üа-яА-Яα-ωΑ-Ω ]{0,20}") {
            prop_assert_eq!(fold(&text.to_uppercase()), fold(&text));
        }
    }
}
