//! Boolean expressions over anything.

/// An expression whose leaves are `L`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr<L> {
    /// A leaf.
    Leaf(L),
    /// All of them; true without any.
    And(Vec<Self>),
    /// At least one of them; false without any.
    Or(Vec<Self>),
    /// At least so many of them.
    AtLeast(usize, Vec<Self>),
    /// Not so.
    Not(Box<Self>),
}

impl<L> Expr<L> {
    /// All of them, without a level of its own for a single one.
    #[must_use]
    pub fn all(mut of: Vec<Self>) -> Self {
        match of.pop() {
            Some(only) if of.is_empty() => only,
            last => Self::And(of.into_iter().chain(last).collect()),
        }
    }

    /// At least one of them, without a level of its own for a single one.
    #[must_use]
    pub fn any(mut of: Vec<Self>) -> Self {
        match of.pop() {
            Some(only) if of.is_empty() => only,
            last => Self::Or(of.into_iter().chain(last).collect()),
        }
    }

    /// Not so.
    #[must_use]
    pub fn negate(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    /// The same expression with other leaves.
    pub fn map<M>(&self, leaf: &mut impl FnMut(&L) -> Expr<M>) -> Expr<M> {
        let mut each = |of: &[Self]| of.iter().map(|expr| expr.map(leaf)).collect();
        match self {
            Self::And(of) => Expr::And(each(of)),
            Self::Or(of) => Expr::Or(each(of)),
            Self::AtLeast(count, of) => Expr::AtLeast(*count, each(of)),
            Self::Leaf(inner) => leaf(inner),
            Self::Not(inner) => inner.map(leaf).negate(),
        }
    }

    /// What it evaluates to where every leaf is decided by `leaf`.
    pub fn decide(&self, leaf: &mut impl FnMut(&L) -> bool) -> bool {
        match self {
            Self::Leaf(inner) => leaf(inner),
            Self::And(of) => of.iter().all(|expr| expr.decide(leaf)),
            Self::Or(of) => of.iter().any(|expr| expr.decide(leaf)),
            Self::AtLeast(count, of) => of.iter().filter(|expr| expr.decide(leaf)).count() >= *count,
            Self::Not(inner) => !inner.decide(leaf),
        }
    }
}
