//! Who calls, for whom, and how many at a time.

use std::sync::Arc;

use atalaya_model::{Principal, Principals, Role, Tenant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::telemetry;

/// Metadata by which an operator names the tenant it acts for.
pub(crate) const TENANT_METADATA: &str = "atalaya-tenant";

/// An authenticated caller.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The principal's name.
    pub(crate) name: String,
    /// Whose rows it gets.
    pub(crate) tenant: Tenant,
    /// Whether it sees the books of every tenant: an operator that names none.
    pub(crate) everything: bool,
}

impl Caller {
    /// The caller of a request that went through [`Access`].
    ///
    /// # Errors
    /// If it did not.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let caller = request.extensions().get::<Self>().cloned();
        caller.ok_or_else(|| Status::unauthenticated("a bearer token is needed"))
    }

    /// Whether rows of a tenant may be shown to it.
    #[must_use]
    pub(crate) fn sees(&self, tenant: &str) -> bool {
        self.everything || self.tenant.as_str() == tenant
    }
}

/// Lets a call in if it shows a valid token.
#[derive(Clone)]
pub(crate) struct Access {
    principals: Arc<Principals>,
}

impl Access {
    /// An access for these principals.
    #[must_use]
    pub(crate) fn new(principals: Arc<Principals>) -> Self {
        Self { principals }
    }

    fn caller(&self, metadata: &MetadataMap) -> Result<Caller, Status> {
        let text = |name| metadata.get(name).and_then(|value| value.to_str().ok());
        let principal: &Principal = self
            .principals
            .authenticate(text("authorization"))
            .ok_or_else(|| Status::unauthenticated("a valid bearer token is needed"))?;
        if !principal.has(Role::Reader) && !principal.has(Role::Operator) {
            return Err(Status::permission_denied("this token may not read: its roles lack reader"));
        }
        let named = match metadata.get(TENANT_METADATA) {
            Some(value) => Some(value.to_str().map_err(|_| Status::invalid_argument("atalaya-tenant: no name"))?),
            None => None,
        };
        let tenant = principal.acting_for(named).map_err(|error| Status::permission_denied(error.to_string()))?;
        let everything = named.is_none() && principal.has(Role::Operator);
        Ok(Caller { name: principal.name.clone(), tenant, everything })
    }
}

impl tonic::service::Interceptor for Access {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = self.caller(request.metadata())?;
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

/// Calls of one sort at the same time; beyond, they are refused at once.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    semaphore: Arc<Semaphore>,
    what: &'static str,
}

impl Places {
    /// So many.
    #[must_use]
    pub(crate) fn new(what: &'static str, at_most: usize) -> Self {
        Self { semaphore: Arc::new(Semaphore::new(at_most)), what }
    }

    /// A place, until it is dropped.
    ///
    /// # Errors
    /// If all are taken.
    pub(crate) fn take(&self) -> Result<OwnedSemaphorePermit, Status> {
        let permit = Arc::clone(&self.semaphore).try_acquire_owned();
        permit.map_err(|_| {
            telemetry::no_place(self.what);
            Status::resource_exhausted(format!("too many {} at the same time: try again", self.what))
        })
    }
}
