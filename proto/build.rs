//! Compiles the .proto files with protox: no system protoc is needed.

const FILES: [&str; 5] = [
    "atalaya/raw/v1/raw.proto",
    "atalaya/alert/v1/alert.proto",
    "atalaya/dlq/v1/dlq.proto",
    "atalaya/ingest/v1/ingest.proto",
    "atalaya/query/v1/query.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(FILES, ["."])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), {
        use prost::Message;
        descriptors.encode_to_vec()
    })?;
    tonic_prost_build::configure().bytes(".atalaya.ingest.v1.PushRequest").compile_fds(descriptors)?;
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    Ok(())
}
