//! Near misses: what a search most likely meant where nothing has its terms.
//!
//! A word of the search is near a word of a record where at most one letter (of four or five), or two (of six and
//! more), are wrong, missing, too many or swapped. Candidates come from the store's index: whatever is wrong with a word, some
//! piece of it is intact, and records without any such piece are never read.

use futures::{StreamExt as _, pin_mut};

use crate::{
    error::Result,
    record::Record,
    repo::Repo,
    store::{Filter, Query, Row, Scope, Value, fold::fold},
};

/// At most so many candidates are compared letter by letter.
const MOST_CANDIDATES: usize = 5_000;

/// At most so many near records are kept in memory, twice as many for a moment.
const MOST_KEPT: usize = 500;

/// Records that a search may have meant.
#[derive(Clone, Debug)]
pub struct NearMisses<T> {
    /// The records, nearest first.
    pub records: Vec<T>,
    /// Whether there were too many candidates to compare all, or too many near records to answer all.
    pub partial: bool,
}

/// The records among those that match `filter` whose searchable words are one or two letters off the terms.
///
/// # Errors
/// Those of the store.
pub async fn near_misses<T: Record>(
    repo: &Repo<'_, T>,
    scope: Scope,
    filter: &Filter,
    terms: &[String],
) -> Result<NearMisses<T>> {
    let words = words_of(terms);
    let mut partial = false;
    // One letter off first: its pieces are longer, so fewer records have them.
    for most in [1, 2] {
        let allowed: Vec<usize> = words.iter().map(|word| tolerance(word).min(most)).collect();
        if allowed.iter().max().is_none_or(|tolerance| *tolerance < most) {
            break;
        }
        let candidates = words.iter().zip(&allowed).map(|(word, allowed)| has_piece(word, *allowed));
        let query = Query::new(filter.clone().and(Filter::And(candidates.collect())), MOST_CANDIDATES + 1);
        let rows = repo.stream(scope, query);
        pin_mut!(rows);
        let mut found: Vec<(usize, T)> = Vec::new();
        let mut compared = 0;
        while let Some(record) = rows.next().await {
            let record = record?;
            if compared == MOST_CANDIDATES {
                partial = true;
                break;
            }
            compared += 1;
            let texts = searchable::<T>(&record.to_row());
            let off: Option<usize> =
                words.iter().zip(&allowed).map(|(word, allowed)| off_by(word, &texts, *allowed)).sum();
            if let Some(off) = off {
                found.push((off, record));
                if found.len() == 2 * MOST_KEPT {
                    keep_nearest(&mut found);
                    partial = true;
                }
            }
        }
        if !found.is_empty() {
            partial |= found.len() > MOST_KEPT;
            keep_nearest(&mut found);
            return Ok(NearMisses { records: found.into_iter().map(|(_, record)| record).collect(), partial });
        }
    }
    Ok(NearMisses { records: Vec::new(), partial })
}

fn keep_nearest<T>(found: &mut Vec<(usize, T)>) {
    found.sort_by_key(|(off, _)| *off);
    found.truncate(MOST_KEPT);
}

/// Folded words: runs of letters and digits.
fn words_of<S: AsRef<str>>(texts: &[S]) -> Vec<String> {
    texts.iter().flat_map(|text| split(&fold(text.as_ref()))).collect()
}

fn split(folded: &str) -> Vec<String> {
    folded
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// How many letters of a word may be wrong.
fn tolerance(word: &str) -> usize {
    match word.chars().count() {
        0..=3 => 0,
        4..=5 => 1,
        _ => 2,
    }
}

/// True of every record with a text that the word is off by at most `edits` letters from.
fn has_piece(word: &str, edits: usize) -> Filter {
    let term = |piece: String| Filter::Search { terms: vec![piece] };
    Filter::Or(pieces(word, edits).into_iter().map(term).collect())
}

/// Pieces of the word of which `edits` wrong, missing, added or swapped letters leave at least one intact.
///
/// Between the pieces of a long word one letter is left out, so that swapped neighbours never lie in two pieces.
/// A short word has its swapped forms added instead; for two edits of six or seven letters, swaps across the ends of
/// pieces are found only where the rest is right.
fn pieces(word: &str, edits: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    let count = letters.len();
    let piece = |from: usize, to: usize| letters[from..to].iter().collect::<String>();
    match (edits, count) {
        (0, _) | (_, 0..=3) => vec![word.to_owned()],
        (1, 4) => {
            let swapped = (0..count - 1).map(|place| {
                let mut letters = letters.clone();
                letters.swap(place, place + 1);
                letters.into_iter().collect()
            });
            [piece(0, 2), piece(2, 4)].into_iter().chain(swapped).collect()
        }
        (1, _) => vec![piece(0, count / 2), piece(count / 2 + 1, count)],
        (_, 4..=7) => vec![piece(0, count / 3), piece(count / 3, 2 * count / 3), piece(2 * count / 3, count)],
        _ => {
            let (first, second) = ((count - 2) / 3, (count - 2) / 3 + 1 + (count - 1) / 3);
            vec![piece(0, first), piece(first + 1, second), piece(second + 1, count)]
        }
    }
}

/// The searchable texts of a record, folded.
fn searchable<T: Record>(row: &Row) -> Vec<String> {
    let values =
        T::COLLECTION.search.iter().filter_map(|name| T::COLLECTION.position(name).and_then(|place| row.0.get(place)));
    let mut texts = Vec::new();
    for value in values {
        match value {
            Value::Text(text) => texts.push(fold(text)),
            Value::TextList(list) => texts.extend(list.iter().map(|text| fold(text))),
            _ => {}
        }
    }
    texts
}

/// By how many letters the word is off the nearest word, or beginning of a word, of the texts; nothing beyond `allowed`.
fn off_by(word: &str, texts: &[String], allowed: usize) -> Option<usize> {
    if texts.iter().any(|text| text.contains(word)) {
        return Some(0);
    }
    if allowed == 0 {
        return None;
    }
    let length = word.chars().count();
    let candidates = texts.iter().flat_map(|text| split(text));
    let nearest = candidates
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.chars().collect();
            if letters.len() + allowed < length {
                return None;
            }
            // Searching finds parts of words, so a beginning of a longer word counts as well.
            let ends = length.saturating_sub(allowed).max(1)..=(length + allowed).min(letters.len());
            ends.map(|end| strsim::osa_distance(word, &letters[..end].iter().collect::<String>())).min()
        })
        .min()?;
    (nearest <= allowed).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_words_must_be_right_and_long_ones_may_be_two_off() {
        let texts = vec!["jonathan sharma".to_owned(), "jonathan@example.com".to_owned()];
        for (word, allowed, off) in [
            ("jonathan", 2, Some(0)),
            ("jonatahn", 2, Some(1)),
            ("jhonathan", 2, Some(1)),
            ("jonthn", 2, Some(2)),
            ("shrama", 2, Some(1)),
            ("examlpe", 2, Some(1)),
            ("jxnxthxn", 2, None),
            ("jon", 0, Some(0)),
            ("jom", 0, None),
        ] {
            assert_eq!(off_by(word, &texts, allowed), off, "{word}");
        }
    }

    fn edited(mut letters: Vec<char>, edits: &[(u8, prop::sample::Index, char)]) -> String {
        for (kind, place, letter) in edits {
            if letters.is_empty() {
                break;
            }
            let place = place.index(letters.len());
            match kind {
                0 => letters[place] = *letter,
                1 => letters.insert(place, *letter),
                2 => {
                    letters.remove(place);
                }
                _ => {
                    let next = (place + 1).min(letters.len() - 1);
                    letters.swap(place, next);
                }
            }
        }
        letters.into_iter().collect()
    }

    proptest! {
        #[test]
        fn one_edit_leaves_a_piece_intact(
            word in "[a-f]{4,12}",
            edit in (0_u8..4, any::<prop::sample::Index>(), prop::char::range('a', 'f')),
        ) {
            let other = edited(word.chars().collect(), &[edit]);
            prop_assert!(pieces(&word, 1).iter().any(|piece| other.contains(piece.as_str())), "{word} {other}");
        }

        #[test]
        fn two_edits_leave_a_piece_of_a_long_word_intact(
            word in "[a-f]{8,16}",
            edits in prop::collection::vec((0_u8..4, any::<prop::sample::Index>(), prop::char::range('a', 'f')), 2),
        ) {
            let other = edited(word.chars().collect(), &edits);
            prop_assume!(strsim::osa_distance(&word, &other) <= 2);
            prop_assert!(pieces(&word, 2).iter().any(|piece| other.contains(piece.as_str())), "{word} {other}");
        }

        #[test]
        fn no_text_panics(word: String, text: String, allowed in 0_usize..3) {
            let folded = fold(&word);
            let _ = off_by(&folded, &[fold(&text)], allowed);
            for edits in 0..3 {
                let _ = pieces(&folded, edits);
            }
        }
    }
}
