//! One service for all tests that run at a time; each has a prefix of its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use atalaya_archive::S3Options;
use atalaya_model::SecretRef;
use atalaya_servers::S3;
use tempfile::TempDir;

use crate::common::place::Place;

pub struct Server {
    pub s3: S3,
    _directory: TempDir,
}

/// The service; it ends with the last test that has it.
pub fn shared() -> Arc<Server> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let directory = tempfile::tempdir().unwrap();
        let server = Arc::new(Server { s3: S3::start(directory.path()).unwrap(), _directory: directory });
        *shared = Arc::downgrade(&server);
        server
    })
}

pub fn options(s3: &S3) -> S3Options {
    S3Options {
        endpoint: Some(s3.endpoint()),
        access_key: Some(SecretRef::File(s3.directory().join("access-key"))),
        secret_key: Some(SecretRef::File(s3.directory().join("secret-key"))),
        ..S3Options::default()
    }
}

/// A prefix nobody else has.
pub fn fresh_url() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("s3://{}/{}/it=is", S3::BUCKET, NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn place() -> Place {
    let server = shared();
    let options = options(&server.s3);
    Place::at(fresh_url(), options, server)
}
