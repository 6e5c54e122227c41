//! The words every other crate shares: identity, tenants, event classes, alerts and the ledger.
//!
//! Pure: no I/O, no clock, no async. Everything here is cheap to clone or borrowed.

mod alert;
mod class;
mod duration;
mod identity;
mod ledger;
mod principal;
mod quota;
mod tenant;
mod tenant_file;

pub use alert::{Action, ActionKind, Alert, AlertState, Level};
pub use class::Class;
pub use duration::{ParseSpanError, parse_span};
pub use identity::{AlertId, EventId, LaneId, NotificationId, Origin, ParseIdError, SourceName};
pub use ledger::{Books, Counts, LedgerKey};
pub use principal::{Principal, Principals, PrincipalsError, Role, TokenEntry, sha256_hex};
pub use quota::{Quotas, Rate};
pub use tenant::{DEFAULT_TENANT, LIVE_DOMAIN, ParseTenantError, SHARED, Tenant, partition_of};
pub use tenant_file::{Receiver, Route, SecretRef, Smtp, SmtpTls, TenantFile, TenantFileError};
