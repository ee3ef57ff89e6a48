//! A sentence as tokens, each with the place in the text that it stands for.

use jiff::civil::Date;
use rust_decimal::Decimal;
use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

use super::refusal::Code;
use crate::rule::Operator;

/// A word, a number or a sign.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// As phrases are compared: in normal form, in lower case.
    pub(super) text: String,
    /// Its bytes in the text as it was given.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether it follows a number without a space.
    pub(super) glued: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Word,
    Number(Result<Decimal, Code>),
    Date(Date),
    /// Something in quotes, as it was written.
    Quoted(String),
    Compare(Operator),
    Currency(&'static str),
    Plus,
    Comma,
    Colon,
    Ampersand,
    Open,
    Close,
    Other,
}

/// One character in normal form, and the bytes that it came from.
#[derive(Clone, Copy, Debug)]
struct Character {
    value: char,
    start: usize,
    end: usize,
}

/// The tokens of a text. Nothing but spaces, end punctuation and hyphens between words is left out.
pub(super) fn scan(text: &str) -> Vec<Token> {
    let mut scanner = Scanner { text, characters: characters(text), place: 0, tokens: Vec::with_capacity(24) };
    scanner.leave_out_the_end();
    scanner.run();
    scanner.tokens
}

/// Characters whose compatible form would be read as something else: `5²` is not 52.
const fn keeps_its_form(character: char) -> bool {
    matches!(character,
        '\u{b2}' | '\u{b3}' | '\u{b9}' | '\u{bc}'..='\u{be}' | '\u{2070}'..='\u{209c}'
        | '\u{2100}'..='\u{218b}' | '\u{2460}'..='\u{24ff}' | '\u{3200}'..='\u{33ff}')
}

fn characters(text: &str) -> Vec<Character> {
    let mut characters = Vec::with_capacity(text.len());
    let mut push = |character: char, start: usize, end: usize| {
        for value in character.to_lowercase() {
            let value = match value {
                '\u{2018}' | '\u{2019}' | '\u{2bc}' | '`' => '\'',
                '\u{201c}' | '\u{201d}' | '\u{201e}' => '"',
                '\u{2212}' | '\u{2010}' | '\u{2011}' | '\u{2013}' => '-',
                value if value.is_whitespace() || value.is_control() => ' ',
                value => value,
            };
            characters.push(Character { value, start, end });
        }
    };
    let mut rest = text.char_indices().peekable();
    while let Some((start, character)) = rest.next() {
        let mut end = start + character.len_utf8();
        if character.is_ascii() && rest.peek().is_none_or(|(_, next)| next.is_ascii()) {
            push(character, start, end);
            continue;
        }
        while let Some((place, mark)) = rest.next_if(|(_, next)| is_combining_mark(*next)) {
            end = place + mark.len_utf8();
        }
        let cluster = text.get(start..end).unwrap_or_default();
        if keeps_its_form(character) {
            cluster.chars().for_each(|value| push(value, start, end));
        } else {
            cluster.nfkc().for_each(|value| push(value, start, end));
        }
    }
    characters
}

struct Scanner<'t> {
    text: &'t str,
    characters: Vec<Character>,
    place: usize,
    tokens: Vec<Token>,
}

impl Scanner<'_> {
    fn leave_out_the_end(&mut self) {
        while self.characters.last().is_some_and(|last| matches!(last.value, '.' | '!' | '?' | ';' | ':' | ',' | ' ')) {
            self.characters.pop();
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.place + ahead).map(|character| character.value)
    }

    fn is_digit(&self, ahead: usize) -> bool {
        self.peek(ahead).is_some_and(|next| next.is_ascii_digit())
    }

    fn before(&self) -> Option<char> {
        self.place.checked_sub(1).and_then(|place| self.characters.get(place)).map(|character| character.value)
    }

    fn run(&mut self) {
        while let Some(next) = self.peek(0) {
            let (begin, count) = (self.place, self.tokens.len());
            match next {
                ' ' => self.place += 1,
                '0'..='9' => self.number(false),
                '.' if self.is_digit(1) => self.number(false),
                '-' if self.is_digit(1) && !self.before().is_some_and(is_word) => {
                    self.place += 1;
                    self.number(true);
                }
                // A hyphen joins words as a space does.
                '-' if self.before().is_some_and(is_word) && self.peek(1).is_some_and(is_word) => self.place += 1,
                '"' => self.quoted('"'),
                '\'' if self.closes_later() => self.quoted('\''),
                next if is_word(next) => self.word(),
                _ => self.sign(next),
            }
            debug_assert!(self.place > begin || self.tokens.len() > count, "the scanner goes on");
        }
    }

    fn push(&mut self, kind: Kind, from: usize, to: usize) {
        let span = self.characters.get(from..to).unwrap_or_default();
        let (Some(first), Some(last)) = (span.first(), span.last()) else { return };
        let text: String = span.iter().map(|character| character.value).collect();
        let glued = self
            .tokens
            .last()
            .is_some_and(|before| matches!(before.kind, Kind::Number(_)) && before.end == first.start);
        self.tokens.push(Token { kind, text, start: first.start, end: last.end, glued });
    }

    /// Digits in Indian or western groups, with decimals.
    fn number(&mut self, negative: bool) {
        let from = self.place - usize::from(negative);
        if !negative && let Some(date) = self.date() {
            self.place += 10;
            return self.push(Kind::Date(date), from, self.place);
        }
        let begin = self.place;
        while self.is_digit(0) || (matches!(self.peek(0), Some(',' | '.')) && self.is_digit(1)) {
            self.place += 1;
        }
        let mut digits: String = self
            .characters
            .get(begin..self.place)
            .unwrap_or_default()
            .iter()
            .map(|character| character.value)
            .collect();
        if negative {
            digits.insert(0, '-');
        }
        self.push(Kind::Number(decimal(&digits)), from, self.place);
    }

    /// A date such as 2026-01-31 that stands alone.
    fn date(&self) -> Option<Date> {
        let text: String =
            self.characters.get(self.place..self.place + 10)?.iter().map(|character| character.value).collect();
        let ends = !self.peek(10).is_some_and(|next| is_word(next) || next == '-');
        let shaped = text.bytes().enumerate().all(|(place, byte)| match place {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        (ends && shaped).then(|| text.parse().ok()).flatten()
    }

    fn closes_later(&self) -> bool {
        !self.before().is_some_and(is_word)
            && self.characters.iter().skip(self.place + 1).any(|character| character.value == '\'')
    }

    /// What stands in quotes, as it was written; a quote that is never closed is a sign like another.
    fn quoted(&mut self, quote: char) {
        let from = self.place;
        let inner = self.characters.get(from + 1..).unwrap_or_default();
        let Some(length) = inner.iter().position(|character| character.value == quote) else {
            return self.sign(quote);
        };
        let to = from + 1 + length;
        let written = match (self.characters.get(from), self.characters.get(to)) {
            (Some(open), Some(close)) => self.text.get(open.end..close.start).unwrap_or_default().trim().to_owned(),
            _ => String::new(),
        };
        self.place = to + 1;
        self.push(Kind::Quoted(written), from, self.place);
    }

    fn word(&mut self) {
        let from = self.place;
        while let Some(next) = self.peek(0) {
            let joins = next == '\'' && self.peek(1).is_some_and(char::is_alphabetic);
            if !(is_word(next) || joins) {
                break;
            }
            self.place += 1;
        }
        self.push(Kind::Word, from, self.place);
        let Some(word) = self.tokens.last_mut() else { return };
        if matches!(word.text.as_str(), "rs" | "inr") && self.characters.get(self.place).is_some_and(|c| c.value == '.')
        {
            self.place += 1;
        }
        let (base, negated) = contraction(&word.text);
        if let Some(base) = base {
            let base = base.to_owned();
            let not = negated.then(|| Token { text: "not".to_owned(), ..word.clone() });
            word.text = base;
            self.tokens.extend(not);
        }
    }

    fn sign(&mut self, first: char) {
        let two = (first, self.peek(1).unwrap_or(' '));
        let (kind, length) = match two {
            ('>', '=') => (Kind::Compare(Operator::GreaterOrEqual), 2),
            ('<', '=') => (Kind::Compare(Operator::LessOrEqual), 2),
            ('=', '=') => (Kind::Compare(Operator::Equal), 2),
            ('!', '=') | ('<', '>') => (Kind::Compare(Operator::NotEqual), 2),
            ('>', _) => (Kind::Compare(Operator::Greater), 1),
            ('<', _) => (Kind::Compare(Operator::Less), 1),
            ('=', _) => (Kind::Compare(Operator::Equal), 1),
            ('≥', _) => (Kind::Compare(Operator::GreaterOrEqual), 1),
            ('≤', _) => (Kind::Compare(Operator::LessOrEqual), 1),
            ('≠', _) => (Kind::Compare(Operator::NotEqual), 1),
            ('₹', _) => (Kind::Currency("INR"), 1),
            ('$', _) => (Kind::Currency("$"), 1),
            ('€', _) => (Kind::Currency("EUR"), 1),
            ('£', _) => (Kind::Currency("GBP"), 1),
            ('¥', _) => (Kind::Currency("JPY"), 1),
            ('+', _) => (Kind::Plus, 1),
            (',', _) => (Kind::Comma, 1),
            (':', _) => (Kind::Colon, 1),
            ('&', '&') => (Kind::Ampersand, 2),
            ('&', _) => (Kind::Ampersand, 1),
            ('(', _) => (Kind::Open, 1),
            (')', _) => (Kind::Close, 1),
            _ => (Kind::Other, 1),
        };
        let from = self.place;
        self.place += length;
        self.push(kind, from, self.place);
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || is_combining_mark(character)
}

/// The word that a contraction is of, and whether it says "not".
fn contraction(word: &str) -> (Option<&str>, bool) {
    if let Some(base) = word.strip_suffix("n't") {
        return (Some(if base.is_empty() { "not" } else { full_form(base) }), true);
    }
    if let Some((base, "s" | "ve" | "re" | "d" | "ll" | "m")) = word.split_once('\'') {
        return (Some(base), false);
    }
    match word {
        "havent" | "hasnt" | "hadnt" | "didnt" | "dont" | "doesnt" | "isnt" | "arent" | "wasnt" | "werent" => {
            (word.strip_suffix("nt"), true)
        }
        "wont" | "cannot" | "cant" => (Some("will"), true),
        _ => (None, false),
    }
}

fn full_form(base: &str) -> &str {
    match base {
        "wo" | "ca" | "sha" => "will",
        base => base,
    }
}

/// An exact number: its digits in groups of three, or of two before the last three.
fn decimal(text: &str) -> Result<Decimal, Code> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.contains(['.', ',']) || !is_grouped(whole) {
        return Err(Code::BadNumber);
    }
    let whole = if whole.is_empty() { "0".to_owned() } else { whole.replace(',', "") };
    if whole.len() > 20 || fraction.len() > 8 {
        // Longer than anything that is kept; the decimals of a number that is in range are told apart below.
        return Err(if whole.len() > 20 { Code::ValueOutOfRange } else { Code::BadNumber });
    }
    let text = if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") };
    text.parse().map_err(|_| Code::BadNumber)
}

fn is_grouped(whole: &str) -> bool {
    if !whole.contains(',') {
        return true;
    }
    let mut lengths = whole.split(',').map(str::len).rev();
    if lengths.next() != Some(3) {
        return false;
    }
    let Some(step) = lengths.clone().next() else { return true };
    let mut lengths: Vec<usize> = lengths.collect();
    let first = lengths.pop().unwrap_or_default();
    // Two digits before the last three are both ways, until there is another group.
    match (lengths.as_slice(), step) {
        ([], _) => (1..=3).contains(&first),
        (inner, 3) if inner.iter().all(|length| *length == 3) => (1..=3).contains(&first),
        (inner, 2) if inner.iter().all(|length| *length == 2) => (1..=2).contains(&first),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_in_one_of_two_ways() {
        for (text, expected) in [
            ("5", Some("5")),
            ("1,000", Some("1000")),
            ("100,000", Some("100000")),
            ("1,00,000", Some("100000")),
            ("10,00,000.5", Some("1000000.5")),
            ("1,000,000", Some("1000000")),
            (".5", Some("0.5")),
            ("-2.50", Some("-2.50")),
            ("1,00,00", None),
            ("1,0000", None),
            ("1000,000", None),
            ("1,000,00,000", None),
            ("1,00,000,000", None),
            ("1.000,50", None),
            ("1.2.3", None),
        ] {
            assert_eq!(decimal(text).ok().map(|number| number.to_string()).as_deref(), expected, "{text}");
        }
        assert_eq!(decimal(&"9".repeat(40)), Err(Code::ValueOutOfRange));
    }

    #[test]
    fn tokens_know_where_they_stand() {
        let text = "Haven’t spent Rs.5,000 – on ‘Tea’ at ５k…";
        let tokens = scan(text);
        let seen: Vec<(&str, &str)> =
            tokens.iter().map(|token| (token.text.as_str(), &text[token.start..token.end])).collect();
        assert_eq!(
            seen[..5],
            [("have", "Haven’t"), ("not", "Haven’t"), ("spent", "spent"), ("rs", "Rs"), ("5,000", "5,000")]
        );
        assert!(tokens.iter().any(|token| token.kind == Kind::Quoted("Tea".to_owned())));
        assert!(tokens.iter().any(|token| token.text == "5" && &text[token.start..token.end] == "５"));
        let squared = scan("5²");
        assert_eq!(squared.len(), 2, "a square is no digit");
    }
}
