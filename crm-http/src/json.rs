//! The strict reading of JSON bodies: one pass that refuses whatever two readers could understand differently.
//!
//! RFC 8259 leaves room that attackers and bugs live in: a key twice, numbers beyond any type, lone surrogates,
//! NUL characters, bottomless nesting. What passes here means one thing to every later reader.

use std::{borrow::Cow, collections::HashSet};

use crm_core::error::FieldErrors;

/// Nesting beyond this is refused.
pub(crate) const DEPTH_LIMIT: usize = 32;
/// Up to so many names, an object is searched for a repeated one by comparing; beyond, by a set.
const FEW_NAMES: usize = 16;
/// A name longer than this is cut in an error's path.
const NAME_SHOWN: usize = 100;

/// The text of a body, if it is one JSON value and nothing else.
///
/// # Errors
/// The first flaw, with the path of the value that has it: `INVALID_TEXT`, `INVALID_JSON`, `DUPLICATE_FIELD`,
/// `TOO_DEEP` or `OUT_OF_RANGE`.
pub(crate) fn check(body: &[u8]) -> Result<&str, FieldErrors> {
    let text = std::str::from_utf8(body).map_err(|error| {
        FieldErrors::one("body", "INVALID_TEXT", format!("is not UTF-8 at byte {}", error.valid_up_to()))
    })?;
    let mut scanner = Scanner { text, bytes: body, at: 0, path: Vec::new() };
    match scanner.document() {
        Ok(()) => Ok(text),
        Err(flaw) => Err(scanner.describe(&flaw)),
    }
}

struct Flaw {
    code: &'static str,
    message: Cow<'static, str>,
}

const fn flaw(code: &'static str, message: &'static str) -> Flaw {
    Flaw { code, message: Cow::Borrowed(message) }
}

const fn syntax(message: &'static str) -> Flaw {
    flaw("INVALID_JSON", message)
}

enum Step<'a> {
    Member(Cow<'a, str>),
    Item(usize),
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    path: Vec<Step<'a>>,
}

impl<'a> Scanner<'a> {
    fn document(&mut self) -> Result<(), Flaw> {
        self.space();
        self.value()?;
        self.space();
        if self.at < self.bytes.len() {
            return Err(syntax("nothing may follow the JSON value"));
        }
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<(), Flaw> {
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(_) => Err(syntax("a JSON value is expected")),
            None => Err(syntax("a JSON value is expected, but the body ends")),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Flaw> {
        if self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            self.at += word.len();
            Ok(())
        } else {
            Err(syntax("a JSON value is expected"))
        }
    }

    fn enter(&mut self, step: Step<'a>) -> Result<(), Flaw> {
        self.path.push(step);
        if self.path.len() > DEPTH_LIMIT { Err(flaw("TOO_DEEP", "is nested more than 32 levels deep")) } else { Ok(()) }
    }

    fn object(&mut self) -> Result<(), Flaw> {
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        let mut names = Names::default();
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(syntax("a member's name in double quotes is expected"));
            }
            let name = self.string()?;
            let repeated = !names.insert(name.clone());
            self.enter(Step::Member(name))?;
            if repeated {
                return Err(flaw("DUPLICATE_FIELD", "is given more than once"));
            }
            self.space();
            if self.peek() != Some(b':') {
                return Err(syntax("a colon is expected after a member's name"));
            }
            self.at += 1;
            self.space();
            self.value()?;
            self.path.pop();
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(syntax("a comma or a closing brace is expected")),
            }
        }
    }

    fn array(&mut self) -> Result<(), Flaw> {
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        let mut position = 0;
        loop {
            self.space();
            self.enter(Step::Item(position))?;
            self.value()?;
            self.path.pop();
            position += 1;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(syntax("a comma or a closing bracket is expected")),
            }
        }
    }

    /// A string, without its escapes. The opening quote is next.
    fn string(&mut self) -> Result<Cow<'a, str>, Flaw> {
        self.at += 1;
        let mut start = self.at;
        let mut unescaped = String::new();
        loop {
            match self.peek() {
                Some(b'"') => {
                    let rest = self.text.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    if unescaped.is_empty() {
                        return Ok(Cow::Borrowed(rest));
                    }
                    unescaped.push_str(rest);
                    return Ok(Cow::Owned(unescaped));
                }
                Some(b'\\') => {
                    unescaped.push_str(self.text.get(start..self.at).unwrap_or_default());
                    self.at += 1;
                    unescaped.push(self.escape()?);
                    start = self.at;
                }
                Some(0) => return Err(flaw("INVALID_TEXT", "holds a NUL character")),
                Some(byte) if byte < 0x20 => {
                    return Err(flaw("INVALID_JSON", "holds a control character that is not escaped"));
                }
                Some(_) => self.at += 1,
                None => return Err(syntax("a text has no closing quote")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Flaw> {
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return Err(syntax("a text has an unknown escape")),
        };
        self.at += 1;
        Ok(character)
    }

    fn unicode_escape(&mut self) -> Result<char, Flaw> {
        const LONE: Flaw = flaw("INVALID_TEXT", "holds half of a surrogate pair");
        let first = self.four_hex_digits()?;
        let code = match first {
            0 => return Err(flaw("INVALID_TEXT", "holds a NUL character")),
            0xD800..=0xDBFF => {
                if !self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(b"\\u")) {
                    return Err(LONE);
                }
                self.at += 2;
                let second = self.four_hex_digits()?;
                if !(0xDC00..=0xDFFF).contains(&second) {
                    return Err(LONE);
                }
                0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            code => code,
        };
        char::from_u32(code).ok_or(LONE)
    }

    fn four_hex_digits(&mut self) -> Result<u32, Flaw> {
        let digits = self.bytes.get(self.at..self.at + 4).unwrap_or_default();
        let mut code = 0;
        for digit in digits {
            let Some(value) = char::from(*digit).to_digit(16) else {
                return Err(syntax("an escape needs four hexadecimal digits"));
            };
            code = code * 16 + value;
        }
        if digits.len() < 4 {
            return Err(syntax("an escape needs four hexadecimal digits"));
        }
        self.at += 4;
        Ok(code)
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<(), Flaw> {
        const MALFORMED: Flaw = syntax("a number is malformed");
        let start = self.at;
        let mut whole = true;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let digits = self.digits();
        if digits == 0 || (leading_zero && digits > 1) {
            return Err(MALFORMED);
        }
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            if self.digits() == 0 {
                return Err(MALFORMED);
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            whole = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(MALFORMED);
            }
        }
        let number = self.text.get(start..self.at).unwrap_or_default();
        let fits = if whole { number.parse::<i64>().is_ok() } else { number.parse::<f64>().is_ok_and(f64::is_finite) };
        if fits { Ok(()) } else { Err(flaw("OUT_OF_RANGE", "is a number beyond what can be kept")) }
    }

    fn describe(&self, flaw: &Flaw) -> FieldErrors {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Member(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.extend(name.chars().take(NAME_SHOWN));
                }
                Step::Item(position) => {
                    path.push('[');
                    path.push_str(&position.to_string());
                    path.push(']');
                }
            }
        }
        if path.is_empty() {
            path.push_str("body");
        }
        if flaw.code != "INVALID_JSON" {
            return FieldErrors::one(path, flaw.code, flaw.message.clone());
        }
        let before = self.text.get(..self.at.min(self.text.len())).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let message = format!("is not valid JSON at line {line}, column {column}: {}", flaw.message);
        FieldErrors::one(path, flaw.code, message)
    }
}

/// The names of one object's members.
#[derive(Default)]
struct Names<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    /// Whether the name is new.
    fn insert(&mut self, name: Cow<'a, str>) -> bool {
        if self.many.is_empty() && self.few.len() < FEW_NAMES {
            let new = !self.few.contains(&name);
            self.few.push(name);
            return new;
        }
        if self.many.is_empty() {
            self.many.extend(self.few.drain(..));
        }
        self.many.insert(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::check;

    fn flaw(body: impl AsRef<[u8]>) -> (String, &'static str) {
        let errors = check(body.as_ref()).expect_err("must be refused");
        let error = errors.iter().next().cloned().expect("one error");
        (error.field, error.code)
    }

    #[test]
    fn plain_json_passes() {
        for body in [
            "{}",
            " [1, -2.5e3, \"a\\u00e9\\ud83d\\ude00\", null, true, false] \n",
            "{\"a\":{\"b\":[{\"c\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}]}}",
            "9223372036854775807",
            "-9223372036854775808",
            "0.1",
            "\"\"",
        ] {
            assert_eq!(check(body.as_bytes()).as_deref(), Ok(body), "{body}");
        }
    }

    #[test]
    fn flaws_are_named() {
        for (body, field, code) in [
            ("", "body", "INVALID_JSON"),
            ("{", "body", "INVALID_JSON"),
            ("{} {}", "body", "INVALID_JSON"),
            ("{\"a\":1,}", "body", "INVALID_JSON"),
            ("[1,]", "[1]", "INVALID_JSON"),
            ("{'a':1}", "body", "INVALID_JSON"),
            ("{\"a\":01}", "a", "INVALID_JSON"),
            ("{\"a\":+1}", "a", "INVALID_JSON"),
            ("{\"a\":.5}", "a", "INVALID_JSON"),
            ("{\"a\":NaN}", "a", "INVALID_JSON"),
            ("{\"a\":\"\n\"}", "a", "INVALID_JSON"),
            ("{\"a\":\"\\x\"}", "a", "INVALID_JSON"),
            ("{\"a\":\"\\u12\"}", "a", "INVALID_JSON"),
            ("\u{feff}{}", "body", "INVALID_JSON"),
            ("{\"a\":1,\"b\":{\"c\":1,\"c\":2}}", "b.c", "DUPLICATE_FIELD"),
            ("{\"a\":1,\"\\u0061\":2}", "a", "DUPLICATE_FIELD"),
            ("{\"a\":[0,\"\\u0000\"]}", "a[1]", "INVALID_TEXT"),
            ("{\"a\":\"\0\"}", "a", "INVALID_TEXT"),
            ("{\"a\":\"\\ud800\"}", "a", "INVALID_TEXT"),
            ("{\"a\":\"\\udc00\"}", "a", "INVALID_TEXT"),
            ("{\"a\":\"\\ud800\\u0041\"}", "a", "INVALID_TEXT"),
            ("{\"a\":1e400}", "a", "OUT_OF_RANGE"),
            ("{\"a\":9223372036854775808}", "a", "OUT_OF_RANGE"),
        ] {
            assert_eq!(flaw(body), (field.to_owned(), code), "{body}");
        }
        assert_eq!(flaw(b"{\"a\":\"\xff\"}"), ("body".to_owned(), "INVALID_TEXT"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check(nested(32).as_bytes()).is_ok());
        assert_eq!(flaw(nested(33)).1, "TOO_DEEP");
        assert_eq!(flaw("[".repeat(500_000)).1, "TOO_DEEP");
        assert_eq!(flaw("{\"a\":".repeat(100_000)).1, "TOO_DEEP");
    }

    #[test]
    fn a_repeated_name_is_found_among_many() {
        let members: Vec<String> = (0..1000).map(|number| format!("\"k{number}\":{number}")).collect();
        assert!(check(format!("{{{}}}", members.join(",")).as_bytes()).is_ok());
        for repeated in ["k0", "k15", "k16", "k999"] {
            assert_eq!(
                flaw(format!("{{{},\"{repeated}\":0}}", members.join(","))),
                (repeated.to_owned(), "DUPLICATE_FIELD")
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&body);
        }

        #[test]
        fn what_passes_is_json(body in "[\\[\\]{}:,\"\\\\a-c0-9.eE+\\-u \\n]{0,40}") {
            if check(body.as_bytes()).is_ok() {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok(), "{body}");
            }
        }

        #[test]
        fn what_is_written_passes(texts in proptest::collection::vec("[^\\x00]{0,20}", 0..10), number: i64, real in -1e300..1e300) {
            let body = serde_json::json!({"texts": texts, "number": number, "real": real}).to_string();
            prop_assert!(check(body.as_bytes()).is_ok(), "{body}");
        }
    }
}
