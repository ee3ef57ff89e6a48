use std::sync::Arc;

use serde_json::value::RawValue;

use super::{
    Catalog, CatalogField, MAX_DEPTH, MAX_NODES, MAX_VALUES, Operator, Relation, RuleType,
    catalog::unknown,
    operand::{Operand, Refusal, Span, boolean},
    token::{Token, joined, nearest, quoted},
    tree::{Condition, Measure, Node, Operands, RelatedCondition},
};
use crate::{error::FieldErrors, store::Value};

/// How many numbers of days `in` may list.
const MAX_DAYS: usize = 40;

/// After so many wrong places the rest is not looked at, and the last error says so.
const MOST_ERRORS: usize = 200;

/// Reads a rule, and notes everything that is wrong with it.
pub(crate) struct Parser<'c> {
    catalog: &'c Catalog,
    errors: FieldErrors,
    found: usize,
    nodes: usize,
    full: bool,
}

impl<'c> Parser<'c> {
    /// # Errors
    /// Everything that is wrong, each by its path below `root`.
    pub(crate) fn parse(raw: &RawValue, catalog: &'c Catalog, root: &str) -> Result<Node, FieldErrors> {
        let mut parser = Self { catalog, errors: FieldErrors::new(), found: 0, nodes: 0, full: false };
        match parser.node(raw, root, 1) {
            Some(node) if parser.errors.is_empty() => Ok(node),
            _ => Err(parser.errors),
        }
    }

    fn wrong(&mut self, path: impl Into<String>, code: &'static str, message: impl Into<String>) {
        self.found += 1;
        if self.found < MOST_ERRORS {
            self.errors.add(path, code, message);
        } else if !self.full {
            self.full = true;
            self.errors.add(path, "TOO_MANY", "is wrong too; what follows was not looked at");
        }
    }

    fn take<T>(&mut self, path: &str, part: Result<T, Refusal>) -> Option<T> {
        part.map_err(|(code, message)| self.wrong(path, code, message)).ok()
    }

    fn token<'a>(&mut self, raw: &'a RawValue, path: &str, most: usize) -> Option<Token<'a>> {
        Token::read(raw, most).map_err(|message| self.wrong(path, "INVALID_FORMAT", message)).ok()
    }

    fn node(&mut self, raw: &RawValue, path: &str, depth: usize) -> Option<Node> {
        if self.full {
            return None;
        }
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.wrong(path, "TOO_MANY", format!("a rule must not have more than {MAX_NODES} conditions and groups"));
            self.full = true;
            return None;
        }
        if depth > MAX_DEPTH {
            self.wrong(path, "TOO_DEEP", format!("a rule must not be nested more than {MAX_DEPTH} levels deep"));
            return None;
        }
        let members = match self.token(raw, path, 0)? {
            Token::Object(members) => members,
            other => {
                let message = format!(
                    "must be a condition {{\"field\",\"op\",\"value\"}} or a group {{\"and\":[…]}}, {{\"or\":[…]}}, {{\"not\":…}}, not {}",
                    other.description()
                );
                self.wrong(path, "INVALID_TYPE", message);
                return None;
            }
        };
        let group = members
            .iter()
            .find(|(name, _)| matches!(name.as_str(), "and" | "or" | "not") || self.catalog.relation(name).is_some());
        match group {
            Some((name, inner)) => self.group(&members, name, inner, path, depth),
            None => self.condition(&members, path).map(Node::Condition),
        }
    }

    fn group(
        &mut self,
        members: &[(String, &RawValue)],
        name: &str,
        inner: &RawValue,
        path: &str,
        depth: usize,
    ) -> Option<Node> {
        for (other, _) in members.iter().filter(|(other, _)| other != name) {
            let message = format!("must not stand beside {name}: a group has one member");
            self.wrong(format!("{path}.{}", shown(other)), "UNKNOWN_FIELD", message);
        }
        let path = format!("{path}.{name}");
        match name {
            "not" => self.node(inner, &path, depth + 1).map(|node| Node::Not(Box::new(node))),
            "and" => self.nodes(inner, &path, depth).map(Node::And),
            "or" => self.nodes(inner, &path, depth).map(Node::Or),
            _ => {
                let relation = Arc::clone(self.catalog.relation(name)?);
                self.related(relation, inner, &path, depth).map(|related| Node::Related(Box::new(related)))
            }
        }
    }

    fn nodes(&mut self, raw: &RawValue, path: &str, depth: usize) -> Option<Vec<Node>> {
        match self.token(raw, path, MAX_NODES)? {
            Token::List(list) if list.is_empty() => {
                self.wrong(path, "REQUIRED", "must have at least one condition");
                None
            }
            Token::List(list) => {
                let count = list.len();
                let nodes: Vec<Node> = list
                    .into_iter()
                    .enumerate()
                    .filter_map(|(place, raw)| self.node(raw, &format!("{path}[{place}]"), depth + 1))
                    .collect();
                (nodes.len() == count).then_some(nodes)
            }
            other => {
                self.wrong(path, "INVALID_TYPE", format!("must be a list of conditions, not {}", other.description()));
                None
            }
        }
    }

    fn condition(&mut self, members: &[(String, &RawValue)], path: &str) -> Option<Condition> {
        let known = ["field", "op", "value"];
        let allowed: Vec<&str> = known
            .into_iter()
            .chain(["and", "or", "not"])
            .chain(self.catalog.relations.iter().map(|relation| relation.name))
            .collect();
        for (name, _) in members.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            let message = unknown("member", name, allowed.iter().copied());
            self.wrong(format!("{path}.{}", shown(name)), "UNKNOWN_FIELD", message);
        }
        let member = |wanted: &str| members.iter().find(|(name, _)| name == wanted).map(|(_, raw)| *raw);
        let name = self.name(member("field"), &format!("{path}.field"), "must name a field");
        let symbol = self.name(member("op"), &format!("{path}.op"), "must name an operator, such as \"==\"");
        let field = name.and_then(|name| {
            let field = self.catalog.field(&name).map(Arc::clone);
            if field.is_none() {
                self.wrong(format!("{path}.field"), "UNKNOWN_FIELD", self.catalog.unknown_field(&name));
            }
            field
        });
        let operator = symbol.and_then(|symbol| {
            let checked = operator_of_symbol(field.as_deref(), &symbol);
            self.take(&format!("{path}.op"), checked)
        });
        let (field, operator) = (field?, operator?);
        let operands = self.operands(&field, operator, member("value"), &format!("{path}.value"))?;
        Some(Condition { field, operator, operands })
    }

    /// A member that is a text.
    fn name(&mut self, raw: Option<&RawValue>, path: &str, missing: &str) -> Option<String> {
        let Some(raw) = raw else {
            self.wrong(path, "REQUIRED", missing);
            return None;
        };
        match self.token(raw, path, 0)? {
            Token::Text(text) => Some(text),
            other => {
                self.wrong(path, "INVALID_TYPE", format!("{missing}, not {}", other.description()));
                None
            }
        }
    }

    fn operands(
        &mut self,
        field: &CatalogField,
        operator: Operator,
        raw: Option<&RawValue>,
        path: &str,
    ) -> Option<Operands> {
        let Some(raw) = raw else {
            if operator == Operator::Exists {
                return Some(Operands::Flag(true));
            }
            self.wrong(path, "REQUIRED", format!("the operator {} needs a value", operator.symbol()));
            return None;
        };
        let token = self.token(raw, path, MAX_VALUES)?;
        match (operator, token) {
            (Operator::Exists, Token::Boolean(flag)) => Some(Operands::Flag(flag)),
            (Operator::Exists, other) => {
                self.wrong(path, "INVALID_TYPE", format!("must be true or false, not {}", other.description()));
                None
            }
            (Operator::WithinLast, Token::Text(text)) => self.take(path, span(&text)).map(Operands::Span),
            (Operator::WithinLast, other) => {
                self.wrong(path, "INVALID_TYPE", format!("must be {}, not {}", Span::FORM, other.description()));
                None
            }
            (Operator::In | Operator::NotIn | Operator::Between, Token::List(list)) => {
                self.take(path, sized(field.kind, operator, list.len()))?;
                let count = list.len();
                let operands: Vec<Operand> = list
                    .into_iter()
                    .enumerate()
                    .filter_map(|(place, raw)| {
                        let path = format!("{path}[{place}]");
                        let token = self.token(raw, &path, 0)?;
                        self.take(&path, Operand::of_token(field, operator, token))
                    })
                    .collect();
                (operands.len() == count).then_some(Operands::Many(operands))
            }
            (Operator::In | Operator::NotIn | Operator::Between, other) => {
                self.wrong(
                    path,
                    "INVALID_TYPE",
                    format!("must be {}, not {}", list_form(operator), other.description()),
                );
                None
            }
            (_, token) => self.take(path, Operand::of_token(field, operator, token)).map(Operands::One),
        }
    }

    fn related(
        &mut self,
        relation: Arc<Relation>,
        raw: &RawValue,
        path: &str,
        depth: usize,
    ) -> Option<RelatedCondition> {
        let members = match self.token(raw, path, 0)? {
            Token::Object(members) => members,
            other => {
                let message = format!("must be {{\"where\",\"within_last\",\"count\"}}, not {}", other.description());
                self.wrong(path, "INVALID_TYPE", message);
                return None;
            }
        };
        let before = self.found;
        let mut allowed = vec!["where", "count"];
        allowed.extend(relation.when.as_ref().map(|_| "within_last"));
        allowed.extend(relation.total.map(|_| "total"));
        let (mut filter, mut within_last) = (None, None);
        let mut measured: Option<(Measure, Operator, Value)> = None;
        let mut measures = 0;
        for (name, raw) in members {
            let path = format!("{path}.{}", shown(&name));
            match (name.as_str(), relation.total) {
                ("where", _) => filter = self.inner(&relation, raw, &path, depth),
                ("within_last", _) if relation.when.is_some() => {
                    within_last = match self.token(raw, &path, 0) {
                        Some(Token::Text(text)) => self.take(&path, span(&text)),
                        Some(other) => {
                            let message = format!("must be {}, not {}", Span::FORM, other.description());
                            self.wrong(&path, "INVALID_TYPE", message);
                            None
                        }
                        None => None,
                    };
                }
                ("count", _) => {
                    measures += 1;
                    measured = self
                        .bound(RuleType::Integer, raw, &path)
                        .map(|(operator, value)| (Measure::Count, operator, value));
                }
                ("total" | "sum", Some((field, kind))) => {
                    measures += 1;
                    measured =
                        self.bound(kind, raw, &path).map(|(operator, value)| (Measure::Total(field), operator, value));
                }
                _ => self.wrong(path, "UNKNOWN_FIELD", unknown("member", &name, allowed.iter().copied())),
            }
        }
        if measures > 1 {
            self.wrong(path, "INVALID_FORMAT", "must have one measure: for two, join two such groups with and");
        }
        if self.found > before {
            return None;
        }
        // Nothing measured asks for at least one.
        let (measure, comparison, value) =
            measured.unwrap_or((Measure::Count, Operator::GreaterOrEqual, Value::Integer(1)));
        Some(RelatedCondition { relation, filter, within_last, measure, comparison, value })
    }

    /// A rule over the related records, counted with the nodes and levels of the whole.
    fn inner(&mut self, relation: &Relation, raw: &RawValue, path: &str, depth: usize) -> Option<Node> {
        let mut inner = Parser {
            catalog: &relation.catalog,
            errors: std::mem::take(&mut self.errors),
            found: self.found,
            nodes: self.nodes,
            full: self.full,
        };
        let node = inner.node(raw, path, depth + 1);
        let Parser { errors, found, nodes, full, .. } = inner;
        (self.errors, self.found, self.nodes, self.full) = (errors, found, nodes, full);
        node
    }

    /// `{"op", "value"}` of a measure.
    fn bound(&mut self, kind: RuleType, raw: &RawValue, path: &str) -> Option<(Operator, Value)> {
        let members = match self.token(raw, path, 0)? {
            Token::Object(members) => members,
            other => {
                self.wrong(path, "INVALID_TYPE", format!("must be {{\"op\",\"value\"}}, not {}", other.description()));
                return None;
            }
        };
        let before = self.found;
        for (name, _) in members.iter().filter(|(name, _)| !matches!(name.as_str(), "op" | "value")) {
            let message = unknown("member", name, ["op", "value"].into_iter());
            self.wrong(format!("{path}.{}", shown(name)), "UNKNOWN_FIELD", message);
        }
        let member = |wanted: &str| members.iter().find(|(name, _)| name == wanted).map(|(_, raw)| *raw);
        let measure = CatalogField::measure(kind);
        let operator = self.name(member("op"), &format!("{path}.op"), "must name an operator, such as \">=\"");
        let operator = operator.and_then(|symbol| {
            let checked =
                Operator::of_symbol(&symbol).filter(|operator| operator.compares_numbers()).ok_or_else(|| {
                    let six = Operator::ALL.into_iter().filter(|operator| operator.compares_numbers());
                    ("UNKNOWN_OPERATOR", unknown_operator(&symbol, six.map(Operator::symbol)))
                });
            self.take(&format!("{path}.op"), checked)
        });
        let operands =
            self.operands(&measure, operator.unwrap_or(Operator::Equal), member("value"), &format!("{path}.value"));
        match (operator, operands) {
            (Some(operator), Some(Operands::One(Operand::Fixed(value)))) if self.found == before => {
                Some((operator, value))
            }
            _ => None,
        }
    }
}

fn unknown_operator<'a>(given: &str, allowed: impl Iterator<Item = &'a str> + Clone) -> String {
    unknown("operator", given, allowed)
}

/// A name from outside as a path shows it.
fn shown(name: &str) -> String {
    let quoted = quoted(name);
    quoted.trim_matches('"').to_owned()
}

fn operator_of_symbol(field: Option<&CatalogField>, symbol: &str) -> Result<Operator, Refusal> {
    operator(field, symbol, Operator::of_symbol(symbol), Operator::symbol)
}

fn operator(
    field: Option<&CatalogField>,
    given: &str,
    operator: Option<Operator>,
    spelled: fn(Operator) -> &'static str,
) -> Result<Operator, Refusal> {
    match (operator, field) {
        (Some(operator), None) => Ok(operator),
        (Some(operator), Some(field)) if field.takes(operator) => Ok(operator),
        (Some(_), Some(field)) => {
            let hint = match field.kind {
                RuleType::List | RuleType::IdList => " (contains asks for one element)",
                _ => "",
            };
            Err((
                "UNKNOWN_OPERATOR",
                format!(
                    "{} is {} and does not take the operator {}{hint}. Allowed: {}",
                    field.name,
                    field.kind.description(),
                    quoted(given),
                    joined(field.operators().map(spelled), "and"),
                ),
            ))
        }
        (None, field) => {
            let allowed: Vec<&str> = Operator::ALL
                .into_iter()
                .filter(|operator| field.is_none_or(|field| field.takes(*operator)))
                .map(spelled)
                .collect();
            let meant = match given {
                "=" | "is" => Some(spelled(Operator::Equal)),
                "<>" | "is_not" => Some(spelled(Operator::NotEqual)),
                _ => Operator::ALL
                    .into_iter()
                    .find(|operator| operator.word() == given || operator.symbol() == given)
                    .map(spelled)
                    .or_else(|| nearest(given, allowed.iter().copied())),
            };
            let hint = meant.map_or_else(String::new, |name| format!(" Did you mean {name}?"));
            Err((
                "UNKNOWN_OPERATOR",
                format!("there is no operator {}.{hint} Allowed: {}", quoted(given), joined(allowed, "and")),
            ))
        }
    }
}

fn span(text: &str) -> Result<Span, Refusal> {
    Span::parse(text).ok_or_else(|| ("INVALID_FORMAT", format!("must be {}, not {}", Span::FORM, quoted(text))))
}

const fn list_form(operator: Operator) -> &'static str {
    match operator {
        Operator::Between => "a list of two values, the first and the last",
        _ => "a list of values",
    }
}

fn sized(kind: RuleType, operator: Operator, count: usize) -> Result<(), Refusal> {
    // Each number of days is a stretch of time with two ends, which a store compares one by one.
    let most = if kind == RuleType::Days { MAX_DAYS } else { MAX_VALUES };
    match (operator, count) {
        (Operator::Between, 2) => Ok(()),
        (Operator::Between, _) => Err(("INVALID_FORMAT", format!("must be {}", list_form(operator)))),
        (_, 0) => Err(("REQUIRED", "must have at least one value".to_owned())),
        (_, count) if count > most => Err(("TOO_MANY", format!("must not have more than {most} values"))),
        _ => Ok(()),
    }
}

/// A condition as a query string writes it: `field[operator]=value`. Lists are separated by commas.
///
/// # Errors
/// What is wrong, for the parameter as a whole.
pub(crate) fn condition_of_text(
    catalog: &Catalog,
    name: &str,
    word: Option<&str>,
    text: &str,
) -> Result<Condition, Refusal> {
    let field = catalog.field(name).ok_or_else(|| ("UNKNOWN_FIELD", catalog.unknown_field(name)))?;
    let operator = match word {
        Some(word) => operator(Some(field), word, Operator::of_word(word), Operator::word)?,
        None if field.takes(Operator::Equal) => Operator::Equal,
        None if field.takes(Operator::Contains) => Operator::Contains,
        None => {
            return Err((
                "UNKNOWN_OPERATOR",
                format!(
                    "{name} needs an operator, such as {name}[exists]=true. Allowed: {}",
                    joined(field.operators().map(Operator::word), "and")
                ),
            ));
        }
    };
    let operands = match operator {
        Operator::Exists => Operands::Flag(boolean(text)?),
        Operator::WithinLast => Operands::Span(span(text)?),
        Operator::In | Operator::NotIn | Operator::Between => {
            let parts: Vec<&str> = text.split(',').take(MAX_VALUES + 1).collect();
            sized(field.kind, operator, parts.len())?;
            Operands::Many(
                parts
                    .into_iter()
                    .map(|part| Operand::of_text(field, operator, part.trim()))
                    .collect::<Result<_, _>>()?,
            )
        }
        _ => Operands::One(Operand::of_text(field, operator, text)?),
    };
    Ok(Condition { field: Arc::clone(field), operator, operands })
}
