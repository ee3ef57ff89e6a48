use super::RuleType;
use crate::store::Comparison;

/// What a condition asks of a field.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Operator {
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `==`
    Equal,
    /// `!=`: exactly the opposite of `==`.
    NotEqual,
    /// `in`: one of the values; for a list, some element is.
    In,
    /// `not_in`: exactly the opposite of `in`.
    NotIn,
    /// `contains`: the text has the part, case and accents aside; the list has the element.
    Contains,
    /// `starts_with`: the text begins so, case and accents aside.
    StartsWith,
    /// `exists`: there is a value, or with `false` there is none.
    Exists,
    /// `between`: from the first to the second value, both included.
    Between,
    /// `before`: earlier than.
    Before,
    /// `after`: later than.
    After,
    /// `within_last`: in the stretch of time that ends now.
    WithinLast,
}

impl Operator {
    /// All, in the order in which messages list them.
    pub const ALL: [Self; 15] = [
        Self::Greater,
        Self::GreaterOrEqual,
        Self::Less,
        Self::LessOrEqual,
        Self::Equal,
        Self::NotEqual,
        Self::In,
        Self::NotIn,
        Self::Contains,
        Self::StartsWith,
        Self::Exists,
        Self::Between,
        Self::Before,
        Self::After,
        Self::WithinLast,
    ];

    /// As a rule writes it.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::In => "in",
            Self::NotIn => "not_in",
            Self::Contains => "contains",
            Self::StartsWith => "starts_with",
            Self::Exists => "exists",
            Self::Between => "between",
            Self::Before => "before",
            Self::After => "after",
            Self::WithinLast => "within_last",
        }
    }

    /// As a query string writes it: `spend[gte]=100`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Greater => "gt",
            Self::GreaterOrEqual => "gte",
            Self::Less => "lt",
            Self::LessOrEqual => "lte",
            Self::Equal => "eq",
            Self::NotEqual => "ne",
            Self::NotIn => "nin",
            other => other.symbol(),
        }
    }

    /// The operator that a rule writes so.
    #[must_use]
    pub fn of_symbol(symbol: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.symbol() == symbol)
    }

    /// The operator that a query string writes so.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.word() == word)
    }

    /// The comparison that it is, where it is one.
    #[must_use]
    pub const fn comparison(self) -> Option<Comparison> {
        Some(match self {
            Self::Greater | Self::After => Comparison::Greater,
            Self::GreaterOrEqual => Comparison::GreaterOrEqual,
            Self::Less | Self::Before => Comparison::Less,
            Self::LessOrEqual => Comparison::LessOrEqual,
            Self::Equal => Comparison::Equal,
            Self::NotEqual => Comparison::NotEqual,
            _ => return None,
        })
    }

    /// Whether it is one of the six that compare numbers.
    #[must_use]
    pub const fn compares_numbers(self) -> bool {
        matches!(
            self,
            Self::Greater | Self::GreaterOrEqual | Self::Less | Self::LessOrEqual | Self::Equal | Self::NotEqual
        )
    }

    /// Whether a field of the type takes it.
    pub(crate) const fn fits(self, kind: RuleType, folded: bool, options: bool, element: bool) -> bool {
        let ordered = self.compares_numbers() || matches!(self, Self::In | Self::NotIn | Self::Between);
        let equality = matches!(self, Self::Equal | Self::NotEqual | Self::In | Self::NotIn);
        match kind {
            _ if matches!(self, Self::Exists) => !matches!(kind, RuleType::Days),
            RuleType::Boolean => matches!(self, Self::Equal | Self::NotEqual),
            RuleType::Integer | RuleType::Number | RuleType::Money | RuleType::Days => ordered,
            RuleType::Text if options => equality,
            RuleType::Text => ordered || folded && matches!(self, Self::Contains | Self::StartsWith),
            RuleType::Timestamp | RuleType::Date => {
                ordered || matches!(self, Self::Before | Self::After | Self::WithinLast)
            }
            RuleType::Id => equality,
            RuleType::List | RuleType::IdList => {
                matches!(self, Self::Contains | Self::In | Self::NotIn) || element && equality
            }
            RuleType::Json => false,
        }
    }
}
