//! What can be measured by itself.

use std::path::Path;

use crate::arguments::Arguments;
use crate::load::{self, Variant, line};
use crate::mesh::{Mesh, Options};
use crate::paced::{self, Paced, Way};
use crate::process::Served;
use crate::receiver::Receiver;
use crate::system::System;
use crate::whole::{self, Pass};
use crate::{print, stages};

/// Copies of the sample for the stages alone.
const STAGE_COPIES: usize = 4;

const VARIANTS: [(Variant, &str); 2] =
    [(Variant::Sample, "sample"), (Variant::Permuted, "permuted: 10⁶ names, 10⁵ sources")];

/// Who measures what.
pub struct Bench {
    pub arguments: Arguments,
    pub sample: Vec<String>,
    pub receiver: Receiver,
}

/// What one mesh showed.
struct Shown {
    pass: Pass,
    paced: Paced,
}

impl Bench {
    /// Everything that is asked for.
    pub async fn run(&self) -> anyhow::Result<()> {
        if self.arguments.all_in_one() || self.arguments.table() {
            self.table().await?;
        }
        if self.arguments.tls() {
            self.tls().await?;
        }
        for tenants in self.arguments.tenants() {
            let options = Options { tenants: Some(*tenants), ..self.options(self.first_sync()) };
            self.mesh(&options, Variant::Permuted, "permuted").await?;
        }
        Ok(())
    }

    /// The all-in-one, and on request meshes beside it.
    async fn table(&self) -> anyhow::Result<()> {
        for (variant, name) in VARIANTS {
            println!("\n== {name}");
            print::stages(&stages::measure(&self.sample, STAGE_COPIES, variant).await?);
            self.one_process(variant, name).await?;
            if self.arguments.table() {
                for sync in &self.arguments.sync {
                    self.mesh(&self.options(sync), variant, name).await?;
                }
            }
        }
        Ok(())
    }

    /// The all-in-one, fresh for each measurement.
    async fn one_process(&self, variant: Variant, name: &str) -> anyhow::Result<()> {
        let served = Served::start(&self.receiver).await?;
        let logs = tempfile::tempdir()?;
        let load = self.load(logs.path(), 0..self.arguments.copies, variant, None)?;
        let pass = whole::throughput(&served.system, &load, false).await?;
        print::pass(&format!("{}, {name}", served.system.name), &pass);
        print::weights(pass.bus_bytes, served.stop().await?);
        let served = Served::start(&self.receiver).await?;
        let paced = self.paced(&served.system, variant, None, &Way::Push).await?;
        print::paced(&format!("{}, {name}", served.system.name), &paced);
        served.stop().await?;
        Ok(())
    }

    /// One mesh: warmed up, then a pass, then open loop.
    async fn mesh(&self, options: &Options, variant: Variant, name: &str) -> anyhow::Result<Shown> {
        let mesh = Mesh::start(options, &self.receiver, self.arguments.binaries.as_deref()).await?;
        let (title, logs) = (format!("{}, {name}", mesh.system.name), tempfile::tempdir()?);
        let (copies, warm_up) = (self.arguments.copies, self.arguments.warm_up);
        if warm_up > 0 {
            let load = self.load(&logs.path().join("warm"), copies..copies + warm_up, variant, options.tenants)?;
            whole::throughput(&mesh.system, &load, false).await?;
        }
        let load = self.load(&logs.path().join("logs"), 0..copies, variant, options.tenants)?;
        let pass = whole::throughput(&mesh.system, &load, self.arguments.hold_hot_store).await?;
        print::pass(&title, &pass);
        if let Some(tenants) = options.tenants {
            mesh.check_owners(tenants).await?;
        }
        // Only files have owners that are told by address: what is pushed is the pusher's.
        let way = if options.tenants.is_some() { Way::File(mesh.followed()) } else { Way::Push };
        let paced = self.paced(&mesh.system, variant, options.tenants, &way).await?;
        print::paced(&title, &paced);
        print::weights(pass.bus_bytes, mesh.stop().await?);
        Ok(Shown { pass, paced })
    }

    /// The same mesh plain and with TLS.
    async fn tls(&self) -> anyhow::Result<()> {
        let plain = self.options(self.first_sync());
        let tls = Options { tls: true, ..plain.clone() };
        let plain = self.mesh(&plain, Variant::Sample, "sample").await?;
        let tls = self.mesh(&tls, Variant::Sample, "sample").await?;
        print::cost("as fast as it goes", &plain.pass.used, &tls.pass.used);
        print::cost("at 20,000 events/s", &plain.paced.used, &tls.paced.used);
        Ok(())
    }

    fn options(&self, sync: &str) -> Options {
        Options { sync: sync.to_owned(), tls: false, tenants: None }
    }

    fn first_sync(&self) -> &str {
        self.arguments.sync.first().map_or("always", String::as_str)
    }

    fn load(
        &self,
        directory: &Path,
        copies: std::ops::Range<usize>,
        variant: Variant,
        tenants: Option<u32>,
    ) -> anyhow::Result<whole::Load> {
        let (paths, events) = load::write(directory, &self.sample, copies, variant)?;
        let tenant = if tenants.is_some() { atalaya_model::SHARED } else { atalaya_model::DEFAULT_TENANT };
        Ok(whole::Load { paths, events, tenant })
    }

    async fn paced(&self, system: &System, variant: Variant, tenants: Option<u32>, way: &Way) -> anyhow::Result<Paced> {
        let lines: Vec<String> = self.sample.iter().enumerate().map(|(at, text)| line(text, 0, at, variant)).collect();
        let load = paced::Load { lines: &lines, seconds: self.arguments.seconds, tenants };
        paced::measure(system, &self.receiver, &load, way).await
    }
}
