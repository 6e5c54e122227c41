//! The wire messages of Atalaya by package and version, and their conversions.
//!
//! Everything that leaves a process as protobuf is defined in the `.proto` files of this crate. The only hand-written
//! parts are the RAW body's framing ([`raw`]) and the conversions between wire and model ([`convert`]).

pub mod convert;
pub mod raw;

/// The generated code: one module per package.
#[allow(missing_docs, clippy::all, clippy::pedantic, unused_qualifications, reason = "generated")]
pub mod atalaya {
    /// Package `atalaya.raw.v1`.
    pub mod raw {
        pub mod v1 {
            tonic::include_proto!("atalaya.raw.v1");
        }
    }
    /// Package `atalaya.alert.v1`.
    pub mod alert {
        pub mod v1 {
            tonic::include_proto!("atalaya.alert.v1");
        }
    }
    /// Package `atalaya.dlq.v1`.
    pub mod dlq {
        pub mod v1 {
            tonic::include_proto!("atalaya.dlq.v1");
        }
    }
    /// Package `atalaya.ingest.v1`.
    pub mod ingest {
        pub mod v1 {
            tonic::include_proto!("atalaya.ingest.v1");
        }
    }
    /// Package `atalaya.query.v1`.
    pub mod query {
        pub mod v1 {
            tonic::include_proto!("atalaya.query.v1");
        }
    }
}

pub use atalaya::alert::v1 as alert_v1;
pub use atalaya::dlq::v1 as dlq_v1;
pub use atalaya::ingest::v1 as ingest_v1;
pub use atalaya::query::v1 as query_v1;
pub use atalaya::raw::v1 as raw_v1;

/// The file descriptor set of every package, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
