//! The store on Cassandra: the suite of the port on a real node, and what only a server can go through. One node
//! serves every test, one test after the other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod doors;
mod figures;
mod kept;
mod outages;
mod tables;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use atalaya_hot::cassandra::{Cassandra, Options};
use atalaya_hot::conformance::world::{TENANTS, World};
use atalaya_hot::conformance::{check, lookup, suite};
use atalaya_hot::{Hot, HotError, LookupKind};
use atalaya_servers::CassandraOptions;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

/// The node; it ends with this process.
static NODE: Mutex<Option<atalaya_servers::Cassandra>> = Mutex::const_new(None);

type Node = MappedMutexGuard<'static, atalaya_servers::Cassandra>;

/// The node, for one test alone; running, and as it is started by default.
async fn node() -> Node {
    let mut node = NODE.lock().await;
    tokio::task::block_in_place(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hot-cassandra");
        match node.as_mut() {
            None => {
                // What an earlier run left.
                let _ = std::fs::remove_dir_all(&directory);
                let options = CassandraOptions::new().unwrap();
                *node = Some(atalaya_servers::Cassandra::start(&directory, options).unwrap());
            }
            // A test leaves it as it needed it, or as it was when the test failed.
            Some(node) => {
                if !node.is_alive() || node.options() != &as_usual(node.options()) {
                    node.restart_with(as_usual(node.options())).unwrap();
                }
            }
        }
    });
    MutexGuard::map(node, |node| node.as_mut().unwrap())
}

/// The same ports, and nothing else of its own.
fn as_usual(options: &CassandraOptions) -> CassandraOptions {
    let CassandraOptions { native_port, storage_port, jmx_port, .. } = *options;
    CassandraOptions { native_port, storage_port, jmx_port, ..CassandraOptions::new().unwrap() }
}

/// Restarts the node with other options, on the same ports.
fn restart(node: &mut Node, change: impl FnOnce(&mut CassandraOptions)) {
    let mut options = as_usual(node.options());
    change(&mut options);
    tokio::task::block_in_place(|| node.restart_with(options)).unwrap();
}

/// One replica, and nothing that was received years ago is over.
fn options() -> Options {
    Options { replication_factor: 1, retention: None, ..Options::default() }
}

/// A URL with a keyspace of its own.
fn url(node: &Node) -> String {
    static KEYSPACES: AtomicU32 = AtomicU32::new(0);
    format!("cassandra://{}/hot_{}", node.address(), KEYSPACES.fetch_add(1, Ordering::Relaxed))
}

async fn open(url: &str, options: &Options) -> Cassandra {
    Cassandra::open(url, options).await.unwrap()
}

/// Everything a tenant has, and lookups that go through postings.
async fn check_all(hot: &dyn Hot, world: &World) {
    for tenant in TENANTS {
        for (kind, value) in [
            (LookupKind::Tenant, ""),
            (LookupKind::Cidr, "0.0.0.0/0"),
            (LookupKind::Ip, "10.1.0.3"),
            (LookupKind::Domain, "example.com"),
            (LookupKind::Raw, "c1-0.1700000000000.3"),
        ] {
            check(hot, world, &lookup(tenant, kind, value, 300)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance() {
    let node = node().await;
    let new_hot = async || {
        let hot: Arc<dyn Hot> = Arc::new(open(&url(&node), &options()).await);
        Ok(hot)
    };
    suite(new_hot).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_name_the_adapter() {
    let node = node().await;
    let hot = atalaya_hot::open_with(&url(&node), &options()).await.unwrap();
    let world = World::random(61, 3).unwrap();
    hot.file(&world.messages).await.unwrap();
    check_all(hot.as_ref(), &world).await;
    let refused = atalaya_hot::open("cassandra://127.0.0.1:1/hot?retention=1m").await.map(|_| ());
    assert!(matches!(refused, Err(HotError::Request(_))), "{refused:?}");
    let nobody = atalaya_hot::open("cassandra://127.0.0.1:1/hot").await.map(|_| ());
    assert!(matches!(nobody, Err(HotError::Io(_))), "{nobody:?}");
}
