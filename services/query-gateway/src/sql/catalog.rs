//! What a tenant's session can name: the tables of every class, and what is said of them. Nothing else exists in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use atalaya_archive::Archive;
use atalaya_model::{Class, Tenant};
use datafusion::catalog::information_schema::{INFORMATION_SCHEMA, InformationSchemaProvider};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::TableType;

use super::table::TenantTable;
use super::{SqlError, TablePositions};

/// The only catalog.
pub(crate) const CATALOG: &str = "atalaya";

/// The schema of the tables.
pub(crate) const SCHEMA: &str = "public";

/// The views of information_schema that are there: nothing of settings and of other sessions.
const INFORMATION: [&str; 5] = ["tables", "columns", "schemata", "routines", "parameters"];

/// The tables of one session: each is pinned at the version it had when it was first named.
#[derive(Debug)]
pub(crate) struct TenantTables {
    archive: Archive,
    tenant: Tenant,
    pinned: Mutex<BTreeMap<Class, (Arc<TenantTable>, TablePositions)>>,
}

impl TenantTables {
    pub(crate) fn new(archive: Archive, tenant: Tenant) -> Self {
        Self { archive, tenant, pinned: Mutex::new(BTreeMap::new()) }
    }

    fn pinned(&self, class: Class) -> Option<Arc<TenantTable>> {
        let pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        pinned.get(&class).map(|(table, _)| Arc::clone(table))
    }

    /// How far each of the tables named so far reaches.
    pub(crate) fn positions(&self) -> Vec<TablePositions> {
        let pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        pinned.values().map(|(_, positions)| positions.clone()).collect()
    }
}

#[async_trait]
impl SchemaProvider for TenantTables {
    fn table_names(&self) -> Vec<String> {
        Class::ALL.iter().map(|class| class.name().to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(class) = Class::from_name(name) else { return Ok(None) };
        if let Some(table) = self.pinned(class) {
            return Ok(Some(table));
        }
        let snapshot = self.archive.snapshot(class).await;
        let snapshot = snapshot.map_err(|error| DataFusionError::from(SqlError::Archive(error.to_string())))?;
        let positions = TablePositions::of(class, snapshot.as_deref());
        let table = Arc::new(TenantTable::new(class, self.tenant.clone(), snapshot));
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        let (table, _) = pinned.entry(class).or_insert((table, positions));
        Ok(Some(Arc::clone(table) as Arc<dyn TableProvider>))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(Class::from_name(name).map(|_| TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        Class::from_name(name).is_some()
    }
}

/// The only catalog of a session, and the list of catalogs with it alone.
#[derive(Clone, Debug)]
pub(crate) struct TenantCatalog {
    tables: Arc<TenantTables>,
}

impl TenantCatalog {
    pub(crate) fn new(tables: Arc<TenantTables>) -> Self {
        Self { tables }
    }
}

impl CatalogProvider for TenantCatalog {
    fn schema_names(&self) -> Vec<String> {
        vec![SCHEMA.to_owned(), INFORMATION_SCHEMA.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            SCHEMA => Some(Arc::clone(&self.tables) as Arc<dyn SchemaProvider>),
            INFORMATION_SCHEMA => Some(Arc::new(Information::of(self))),
            _ => None,
        }
    }
}

impl CatalogProviderList for TenantCatalog {
    /// There is no other catalog, and none can be added.
    fn register_catalog(&self, _name: String, _catalog: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as Arc<dyn CatalogProvider>)
    }
}

/// Some of information_schema.
#[derive(Debug)]
struct Information {
    whole: InformationSchemaProvider,
}

impl Information {
    fn of(catalog: &TenantCatalog) -> Self {
        Self { whole: InformationSchemaProvider::new(Arc::new(catalog.clone())) }
    }
}

#[async_trait]
impl SchemaProvider for Information {
    fn table_names(&self) -> Vec<String> {
        INFORMATION.iter().map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if self.table_exist(name) { self.whole.table(name).await } else { Ok(None) }
    }

    fn table_exist(&self, name: &str) -> bool {
        INFORMATION.contains(&name)
    }
}
