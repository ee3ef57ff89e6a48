//! Takes a message apart into texts and tags.

/// A part of a message as it is written.
#[derive(Debug)]
pub(super) enum Piece {
    /// A text, what was escaped in it put right.
    Text(String),
    /// `{{…}}`.
    Tag(Tag),
    /// A tag that is none: what is wrong, and where.
    Fault(String),
}

/// What stands between braces.
#[derive(Debug)]
pub(super) struct Tag {
    /// The variable.
    pub(super) name: String,
    /// Where the tag begins: the number of its first character, from 1.
    pub(super) position: usize,
    /// The filters, from left to right.
    pub(super) filters: Vec<Call>,
}

/// A filter as it is written.
#[derive(Debug)]
pub(super) struct Call {
    /// Its name.
    pub(super) name: String,
    /// What stands behind its colon.
    pub(super) argument: Option<Argument>,
}

/// What a filter is given.
#[derive(Debug)]
pub(super) enum Argument {
    /// A text in quotes.
    Text(String),
    /// A number without quotes.
    Number(String),
}

/// Reads a message from its beginning to its end.
pub(super) struct Scanner {
    characters: Vec<char>,
    at: usize,
}

impl Scanner {
    pub(super) fn new(text: &str) -> Self {
        Self { characters: text.chars().collect(), at: 0 }
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn opens(&self, at: usize) -> bool {
        self.characters.get(at) == Some(&'{') && self.characters.get(at + 1) == Some(&'{')
    }

    fn closes(&self) -> bool {
        self.peek() == Some('}') && self.characters.get(self.at + 1) == Some(&'}')
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn take(&mut self, fits: impl Fn(char) -> bool) -> String {
        let begin = self.at;
        while self.peek().is_some_and(&fits) {
            self.at += 1;
        }
        self.characters.get(begin..self.at).unwrap_or_default().iter().collect()
    }

    /// The text up to the next tag. Backslashes before braces come in pairs, each a backslash; one that is left over
    /// makes the braces a text.
    fn text(&mut self) -> String {
        let mut text = String::new();
        while let Some(character) = self.peek() {
            if character == '\\' {
                let slashes = self.take(|character| character == '\\').len();
                if !self.opens(self.at) {
                    text.extend(std::iter::repeat_n('\\', slashes));
                    continue;
                }
                text.extend(std::iter::repeat_n('\\', slashes / 2));
                if slashes % 2 == 1 {
                    text.push_str("{{");
                    self.at += 2;
                    continue;
                }
            }
            if self.opens(self.at) {
                break;
            }
            text.extend(self.peek());
            self.at += 1;
        }
        text
    }

    /// The tag that begins here.
    fn tag(&mut self) -> Result<Tag, String> {
        let position = self.at + 1;
        self.at += 2;
        let fault = |what: &str| Err(format!("the {{{{ at character {position} {what}"));
        self.skip_blanks();
        let name = self.take(|character| character.is_alphanumeric() || matches!(character, '_' | '.' | '-'));
        if name.is_empty() {
            return fault("must be followed by the name of a variable, such as {{name}}; \\{{ writes two braces");
        }
        let mut filters = Vec::new();
        loop {
            self.skip_blanks();
            if self.closes() {
                self.at += 2;
                return Ok(Tag { name, position, filters });
            }
            match self.peek() {
                Some('|') => self.at += 1,
                None => return fault("is not closed by }}"),
                Some(_) => return fault("must have }} or a filter, such as | default: \"there\", behind the name"),
            }
            self.skip_blanks();
            let filter = self.take(|character| character.is_alphanumeric() || character == '_');
            if filter.is_empty() {
                return fault("must have the name of a filter behind each |");
            }
            self.skip_blanks();
            let mut argument = None;
            if self.peek() == Some(':') {
                self.at += 1;
                self.skip_blanks();
                argument = self.argument();
                if argument.is_none() {
                    return fault("must have a text in quotes, or a number, behind each colon");
                }
            }
            filters.push(Call { name: filter, argument });
        }
    }

    fn argument(&mut self) -> Option<Argument> {
        // Text editors make typographic quotes of straight ones.
        let ends: &[char] = match self.peek()? {
            '"' => &['"'],
            '\'' => &['\''],
            '\u{201c}' | '\u{201d}' | '\u{201e}' => &['\u{201c}', '\u{201d}'],
            '\u{2018}' | '\u{2019}' | '\u{201a}' => &['\u{2018}', '\u{2019}'],
            _ => {
                let number = self.take(|character| character.is_ascii_digit() || matches!(character, '.' | '-'));
                return (!number.is_empty()).then_some(Argument::Number(number));
            }
        };
        self.at += 1;
        let mut text = String::new();
        loop {
            let character = self.peek()?;
            self.at += 1;
            if ends.contains(&character) {
                return Some(Argument::Text(text));
            }
            let next = self.peek();
            if character == '\\' && next.is_some_and(|next| next == '\\' || ends.contains(&next)) {
                text.extend(next);
                self.at += 1;
            } else {
                text.push(character);
            }
        }
    }

    /// Goes on behind a tag that is none.
    fn recover(&mut self) {
        while self.peek().is_some() && !self.closes() && !self.opens(self.at) {
            self.at += 1;
        }
        if self.closes() {
            self.at += 2;
        }
    }
}

impl Iterator for Scanner {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        self.peek()?;
        let text = self.text();
        if !text.is_empty() {
            return Some(Piece::Text(text));
        }
        self.peek()?;
        Some(match self.tag() {
            Ok(tag) => Piece::Tag(tag),
            Err(fault) => {
                self.recover();
                Piece::Fault(fault)
            }
        })
    }
}
