//! Clauses joined by "and", "or" and parentheses.

use super::{
    clause::Clause,
    draft::Draft,
    language::{Language, Subject},
    piece::{Piece, What},
    refusal::{Code, Fault},
};

/// Parentheses within each other are at most so many.
const MOST_NESTED: usize = 8;

/// Puts the clauses of a sentence together.
#[derive(Debug)]
pub(super) struct Expression<'a> {
    language: &'a Language,
    pieces: &'a [Piece],
    place: usize,
    nested: usize,
    /// Whether what cannot be placed is set aside.
    partial: bool,
    inherited: Option<Subject>,
    pub(super) assumptions: Vec<String>,
    /// What was set aside, and why.
    pub(super) unparsed: Vec<Fault>,
}

/// A part of the sentence, and nothing where all of it was set aside.
type Part = Result<Option<Draft>, Fault>;

impl<'a> Expression<'a> {
    pub(super) const fn new(language: &'a Language, pieces: &'a [Piece], partial: bool) -> Self {
        Self {
            language,
            pieces,
            place: 0,
            nested: 0,
            partial,
            inherited: None,
            assumptions: Vec::new(),
            unparsed: Vec::new(),
        }
    }

    /// The whole sentence.
    pub(super) fn read(&mut self) -> Part {
        let draft = self.any()?;
        match self.what() {
            None => Ok(draft),
            Some(What::Close) => Err(self.here(Code::UnbalancedParenthesis, "This parenthesis was never opened.")),
            Some(_) => Err(self.here(Code::UnsupportedText, "Something that joins this to the rest is missing.")),
        }
    }

    fn what(&self) -> Option<&'a What> {
        self.pieces.get(self.place).map(|piece| &piece.what)
    }

    fn here(&self, code: Code, message: &str) -> Fault {
        let place = self.place.min(self.pieces.len().saturating_sub(1));
        Fault::new(code, place, place + 1, message)
    }

    fn any(&mut self) -> Part {
        let mut parts = Vec::new();
        loop {
            parts.extend(self.all()?);
            match self.what() {
                Some(What::Or) => self.place += 1,
                _ => break,
            }
        }
        Ok((!parts.is_empty()).then(|| Draft::any(parts)))
    }

    fn all(&mut self) -> Part {
        let mut parts = Vec::new();
        // Nothing but "customers" may stand beside an adjective.
        let mut optional = false;
        loop {
            parts.extend(self.one(optional)?);
            optional = false;
            match self.what() {
                Some(What::And) => self.place += 1,
                Some(What::Also) => {
                    self.place += 1;
                    optional = true;
                }
                Some(What::Comma) => {
                    self.place += 1;
                    match self.what() {
                        Some(What::And) => self.place += 1,
                        Some(What::Or) => break,
                        _ => {}
                    }
                }
                _ => break,
            }
        }
        Ok((!parts.is_empty()).then(|| Draft::all(parts)))
    }

    fn is_small(&self, place: usize) -> bool {
        let small = |what: &What| matches!(what, What::Stop | What::Noun | What::Is);
        self.pieces.get(place).is_some_and(|piece| small(&piece.what))
    }

    fn is_about(&self, place: usize) -> bool {
        let about = |what: &What| matches!(what, What::Subject(_) | What::Visited | What::Active | What::Adjective(..));
        self.pieces.get(place).is_some_and(|piece| about(&piece.what))
    }

    fn one(&mut self, optional: bool) -> Part {
        let begin = self.place;
        let mut open = begin;
        while self.is_small(open) {
            open += 1;
        }
        let is = |place: usize, wanted: &What| self.pieces.get(place).is_some_and(|piece| piece.what == *wanted);
        let denied = is(open, &What::Not) && is(open + 1, &What::Open);
        if denied || is(open, &What::Open) {
            self.place = open + usize::from(denied);
            return self.parenthesis(denied);
        }
        let ends =
            |what: &What| matches!(what, What::And | What::Or | What::Comma | What::Also | What::Open | What::Close);
        while self.what().is_some_and(|what| !ends(what)) {
            self.place += 1;
        }
        if (begin..self.place).all(|place| self.is_small(place)) {
            let followed = matches!(self.what(), Some(What::And | What::Or | What::Comma | What::Close) | None);
            if optional && followed {
                return Ok(None);
            }
            let (first, last) =
                if begin < self.place { (begin, self.place) } else { (begin.saturating_sub(1), begin + 1) };
            let fault = Fault::new(
                Code::MissingField,
                first,
                last,
                "It is not said here what this is about, such as spend or visits.",
            );
            return self.set_aside(fault);
        }
        self.clause((begin..self.place).collect())
    }

    fn parenthesis(&mut self, denied: bool) -> Part {
        let open = self.place;
        self.place += 1;
        self.nested += 1;
        if self.nested > MOST_NESTED {
            self.place = open;
            return Err(self.here(Code::UnsupportedText, "Parentheses are nested too deep."));
        }
        let inner = self.any()?;
        self.nested -= 1;
        match self.what() {
            Some(What::Close) => self.place += 1,
            Some(_) => {
                return Err(self.here(Code::UnsupportedText, "Something that joins this to the rest is missing."));
            }
            None => {
                self.place = open;
                return Err(self.here(Code::UnbalancedParenthesis, "This parenthesis is never closed."));
            }
        }
        while self.is_small(self.place) {
            self.place += 1;
        }
        Ok(if denied { inner.map(Draft::negated) } else { inner })
    }

    /// A clause; where parts may be set aside, what is left of it.
    fn clause(&mut self, mut places: Vec<usize>) -> Part {
        let whole = (places.first().copied().unwrap_or_default(), places.last().map_or(0, |last| last + 1));
        let denied = places.iter().any(|place| self.pieces.get(*place).is_some_and(|piece| piece.what == What::Not));
        let aside = self.unparsed.len();
        loop {
            let fault = match Clause::read(self.language, self.pieces, &places, self.inherited) {
                Ok(said) => {
                    self.inherited = Some(said.subject);
                    self.assumptions.extend(said.assumptions);
                    return Ok(Some(said.draft));
                }
                Err(fault) => fault,
            };
            if !self.partial {
                return Err(fault);
            }
            let count = places.len();
            // Without the words that "not" may have denied, it would deny something else.
            if fault.code == Code::UnsupportedText && !denied {
                places.retain(|place| !(fault.first..fault.last).contains(place));
            }
            let small = places.iter().all(|place| self.is_small(*place));
            // Without the words that say what it is about, a number would be about something else.
            if places.len() == count || !small && !places.iter().any(|place| self.is_about(*place)) {
                self.unparsed.truncate(aside);
                let whole = Fault { first: whole.0, last: whole.1, ..fault };
                return self.set_aside(whole);
            }
            self.unparsed.push(fault);
            if small {
                self.inherited = None;
                return Ok(None);
            }
        }
    }

    fn set_aside(&mut self, fault: Fault) -> Part {
        if !self.partial {
            return Err(fault);
        }
        self.inherited = None;
        self.unparsed.push(fault);
        Ok(None)
    }
}
