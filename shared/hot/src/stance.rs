//! Where an alert stands: a fold of what people did to it over its newest version.

use atalaya_model::{Action, ActionKind, Alert};

use crate::{AlertRow, AlertStatus, Comment};

/// Folds actions, oldest first, over an alert. What was done later wins; a closed alert stays closed.
pub(crate) fn fold(alert: Alert, actions: impl IntoIterator<Item = Action>) -> AlertRow {
    let mut row = AlertRow { alert, status: AlertStatus::New, assignee: None, verdict: None, comments: Vec::new() };
    for action in actions {
        match action.kind {
            ActionKind::Acknowledge if row.status == AlertStatus::New => row.status = AlertStatus::Acknowledged,
            ActionKind::Acknowledge => {}
            ActionKind::Assign(to) => row.assignee = Some(to),
            ActionKind::Verdict(verdict) => row.verdict = Some(verdict),
            ActionKind::Comment(text) => row.comments.push(Comment { by: action.by, at_us: action.at_us, text }),
            ActionKind::Close => row.status = AlertStatus::Closed,
        }
    }
    row
}
