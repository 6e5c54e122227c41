//! Which alerts go where.

use std::collections::HashMap;

use atalaya_model::{Alert, Level, ParseSpanError, Receiver, Route, Tenant, parse_span};
use serde::{Deserialize, Serialize};

/// What an episode keeps of a route: where its messages go, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The route's name.
    pub name: String,
    /// How long an opening alert waits for others, microseconds.
    pub group_wait_us: i64,
    /// How often a lasting episode is told again, microseconds.
    pub repeat_us: i64,
    /// Who gets it.
    pub receiver: Receiver,
}

#[derive(Debug)]
struct Checked {
    min_level: Level,
    rules: Vec<String>,
    way: Way,
}

/// Every tenant's routes, and those of tenants without any.
#[derive(Debug)]
pub struct Routes {
    tenants: HashMap<Tenant, Vec<Checked>>,
    others: Vec<Checked>,
}

impl Routes {
    /// The routes of the tenants' files; `others` are for tenants that have none.
    ///
    /// # Errors
    /// If a span in a route cannot be read.
    pub fn new(tenants: &HashMap<Tenant, Vec<Route>>, others: &[Route]) -> Result<Self, ParseSpanError> {
        let check_all = |routes: &[Route]| routes.iter().map(check).collect::<Result<Vec<_>, _>>();
        let routed = tenants.iter().filter(|(_, routes)| !routes.is_empty());
        let tenants = routed
            .map(|(tenant, routes)| Ok((tenant.clone(), check_all(routes)?)))
            .collect::<Result<_, ParseSpanError>>()?;
        Ok(Self { tenants, others: check_all(others)? })
    }

    /// Where an alert goes.
    #[must_use]
    pub fn of(&self, alert: &Alert) -> Vec<Way> {
        let routes = self.tenants.get(&alert.tenant).unwrap_or(&self.others);
        routes.iter().filter(|route| route.takes(alert)).map(|route| route.way.clone()).collect()
    }
}

impl Checked {
    fn takes(&self, alert: &Alert) -> bool {
        let named = |rule: &String| *rule == alert.rule_id || *rule == alert.title;
        alert.level >= self.min_level && (self.rules.is_empty() || self.rules.iter().any(named))
    }
}

fn check(route: &Route) -> Result<Checked, ParseSpanError> {
    Ok(Checked {
        min_level: route.min_level,
        rules: route.rules.clone(),
        way: Way {
            name: route.name.clone(),
            group_wait_us: parse_span(&route.group_wait)?,
            repeat_us: parse_span(&route.repeat_interval)?,
            receiver: route.receiver.clone(),
        },
    })
}
