//! Which statements are taken at all: reading ones, of bearable size.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion, TreeNodeVisitor};
use datafusion::error::Result;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::{ExplainStatement, Statement};
use datafusion::sql::sqlparser::ast::Statement as Ast;

use super::SqlError;

/// A query's text at most.
pub const MAX_SQL_BYTES: usize = 64 << 10;

/// How deep expressions and plans may nest: each level costs stack in every thread that works on the query.
pub const MAX_DEPTH: usize = 128;

/// Refuses a text that is too long to be looked at.
pub(crate) fn check_text(sql: &str) -> Result<(), SqlError> {
    if sql.len() > MAX_SQL_BYTES {
        return Err(SqlError::Refused(format!("a query of {} bytes, more than {MAX_SQL_BYTES}", sql.len())));
    }
    Ok(())
}

/// Refuses every statement that does not only read.
pub(crate) fn check_statement(statement: &Statement) -> Result<(), SqlError> {
    let refused = |what: &str| Err(SqlError::Refused(format!("{what}: only queries are answered here")));
    match statement {
        Statement::Statement(ast) => match ast.as_ref() {
            Ast::Query(_)
            | Ast::ShowTables { .. }
            | Ast::ShowColumns { .. }
            | Ast::ShowFunctions { .. }
            | Ast::ExplainTable { .. } => Ok(()),
            Ast::Explain { analyze: false, .. } => Ok(()),
            Ast::Explain { .. } => refused("EXPLAIN ANALYZE"),
            other => refused(first_words(&other.to_string())),
        },
        Statement::Explain(ExplainStatement { options, statement }) => {
            if options.analyze {
                refused("EXPLAIN ANALYZE")
            } else {
                check_statement(statement)
            }
        }
        Statement::CopyTo(_) => refused("COPY"),
        Statement::CreateExternalTable(_) => refused("CREATE EXTERNAL TABLE"),
        Statement::Reset(_) => refused("RESET"),
    }
}

fn first_words(text: &str) -> &str {
    let end = text.match_indices(' ').nth(1).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

/// Refuses a plan that does more than read, or nests too deep.
pub(crate) fn check_plan(plan: &LogicalPlan) -> Result<(), SqlError> {
    let reading = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    reading.verify_plan(plan)?;
    let mut plans = Depth::default();
    plan.visit(&mut plans)?;
    let mut expressions = Depth::default();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.visit(&mut Expressions(&mut expressions))?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    let deepest = plans.deepest.max(expressions.deepest);
    if deepest > MAX_DEPTH {
        return Err(SqlError::Refused(format!(
            "the query nests {deepest} levels deep, more than {MAX_DEPTH}; write long chains of OR as IN (…)"
        )));
    }
    Ok(())
}

/// Counts levels on the way down and up.
#[derive(Default)]
struct Depth {
    level: usize,
    deepest: usize,
}

impl Depth {
    fn down(&mut self) -> Result<TreeNodeRecursion> {
        self.level += 1;
        self.deepest = self.deepest.max(self.level);
        Ok(TreeNodeRecursion::Continue)
    }

    fn up(&mut self) -> Result<TreeNodeRecursion> {
        self.level -= 1;
        Ok(TreeNodeRecursion::Continue)
    }
}

impl<'n> TreeNodeVisitor<'n> for Depth {
    type Node = LogicalPlan;

    fn f_down(&mut self, _node: &'n LogicalPlan) -> Result<TreeNodeRecursion> {
        self.down()
    }

    fn f_up(&mut self, _node: &'n LogicalPlan) -> Result<TreeNodeRecursion> {
        self.up()
    }
}

struct Expressions<'a>(&'a mut Depth);

impl<'n> TreeNodeVisitor<'n> for Expressions<'_> {
    type Node = Expr;

    fn f_down(&mut self, _node: &'n Expr) -> Result<TreeNodeRecursion> {
        self.0.down()
    }

    fn f_up(&mut self, _node: &'n Expr) -> Result<TreeNodeRecursion> {
        self.0.up()
    }
}
