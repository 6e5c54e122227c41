//! Who calls: bearer tokens, hashed at rest, each with a tenant and roles.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Tenant;

/// What a principal may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Push records in.
    Ingest,
    /// Look up, query, watch and act on alerts.
    Reader,
    /// Run the platform: replay local files, see every tenant's books, act for another tenant.
    Operator,
}

/// A token as it stands in a tenant's file: never the secret, only its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// The principal's name, for the audit.
    pub name: String,
    /// SHA-256 of the secret, 64 hexadecimal digits, as `atalaya token new` prints it.
    pub sha256: String,
    /// What it may do; ingest and read if not given.
    #[serde(default = "default_roles")]
    pub roles: Vec<Role>,
}

fn default_roles() -> Vec<Role> {
    vec![Role::Ingest, Role::Reader]
}

/// Somebody who showed a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The name in the tenant's file.
    pub name: String,
    /// The tenant the token belongs to.
    pub tenant: Tenant,
    /// What it may do.
    pub roles: Vec<Role>,
}

impl Principal {
    /// Whether it has a role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// The tenant a call is for: the principal's own, or for an operator the one it names.
    ///
    /// # Errors
    /// If another tenant is named by anybody else, or the name is none.
    pub fn acting_for(&self, named: Option<&str>) -> Result<Tenant, PrincipalsError> {
        match named {
            None => Ok(self.tenant.clone()),
            Some(name) if name == self.tenant.as_str() => Ok(self.tenant.clone()),
            Some(name) if self.has(Role::Operator) => {
                name.parse().map_err(|_| PrincipalsError::Tenant(name.to_owned()))
            }
            Some(name) => Err(PrincipalsError::NotYours(name.to_owned())),
        }
    }
}

/// Why a token or a tenant was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrincipalsError {
    /// A hash in a tenant's file is none.
    #[error("token '{0}': sha256 must be 64 hexadecimal digits; 'atalaya token new' prints one")]
    Hash(String),
    /// Two tokens are the same.
    #[error("token '{0}' has the same secret as another one")]
    Twice(String),
    /// No such name.
    #[error("'{0}' is no tenant name")]
    Tenant(String),
    /// A tenant named by somebody who is not an operator.
    #[error("tenant '{0}' is not this token's: only an operator may act for another tenant")]
    NotYours(String),
}

type Hash = [u8; 32];

/// Every known token.
#[derive(Clone, Debug, Default)]
pub struct Principals(HashMap<Hash, Arc<Principal>>);

impl Principals {
    /// Whether nobody can come in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The principals of the tenants' files.
    ///
    /// # Errors
    /// If a hash is malformed or stands twice.
    pub fn from_tokens<'a>(
        tokens: impl IntoIterator<Item = (&'a Tenant, &'a TokenEntry)>,
    ) -> Result<Self, PrincipalsError> {
        let mut principals = Self::default();
        for (tenant, token) in tokens {
            let hash = parse_hash(&token.sha256).ok_or_else(|| PrincipalsError::Hash(token.name.clone()))?;
            let principal = Principal { name: token.name.clone(), tenant: tenant.clone(), roles: token.roles.clone() };
            if principals.0.insert(hash, Arc::new(principal)).is_some() {
                return Err(PrincipalsError::Twice(token.name.clone()));
            }
        }
        Ok(principals)
    }

    /// Adds a principal by its secret, for tokens that live no longer than the process.
    #[must_use]
    pub fn with_secret(mut self, secret: &str, principal: Principal) -> Self {
        self.0.insert(Sha256::digest(secret.as_bytes()).into(), Arc::new(principal));
        self
    }

    /// Who shows this `authorization` header (`Bearer SECRET`); nobody if it is missing or unknown.
    #[must_use]
    pub fn authenticate(&self, authorization: Option<&str>) -> Option<&Arc<Principal>> {
        let (scheme, secret) = authorization?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let hash: Hash = Sha256::digest(secret.trim().as_bytes()).into();
        self.0.get(&hash)
    }
}

/// SHA-256 of a secret as it stands in a tenant's file.
#[must_use]
pub fn sha256_hex(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().fold(String::with_capacity(64), |mut text, byte| {
        use std::fmt::Write;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn parse_hash(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = Hash::default();
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principals() -> Principals {
        let tenant: Tenant = "acme".parse().unwrap();
        let token = TokenEntry { name: "soc".into(), sha256: sha256_hex("s3cret"), roles: vec![Role::Reader] };
        Principals::from_tokens([(&tenant, &token)]).unwrap()
    }

    #[test]
    fn only_the_secret_opens() {
        let principals = principals();
        let found = principals.authenticate(Some("Bearer s3cret")).unwrap();
        assert_eq!((found.name.as_str(), found.tenant.as_str()), ("soc", "acme"));
        for wrong in [None, Some("s3cret"), Some("Basic s3cret"), Some("Bearer s3cre"), Some("Bearer ")] {
            assert!(principals.authenticate(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn only_an_operator_acts_for_another() {
        let mut principal = principals().authenticate(Some("bearer s3cret")).unwrap().as_ref().clone();
        assert!(principal.acting_for(Some("globex")).is_err());
        assert_eq!(principal.acting_for(None), Ok(principal.tenant.clone()));
        principal.roles.push(Role::Operator);
        assert_eq!(principal.acting_for(Some("globex")).unwrap().as_str(), "globex");
        assert!(principal.acting_for(Some("No One")).is_err());
    }
}
