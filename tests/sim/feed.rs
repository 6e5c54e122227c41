//! What feeds RAW: a collector's publisher without its sources. Its spool is the world's input.

use std::sync::Arc;
use std::time::Duration;

use atalaya_bus::{Bus, FencedWriter, OutputLane, Position};
use atalaya_chassis::Shutdown;
use atalaya_model::Books;

use crate::world::World;

/// Pause between two messages: RAW is to grow while the others run.
const PAUSE: Duration = Duration::from_millis(20);

/// Goes on after what RAW has of a lane; done with the lane's last message.
pub(crate) async fn run(world: &World, lane: usize, bus: Arc<dyn Bus>, shutdown: Shutdown) -> anyhow::Result<()> {
    let input = &world.input.lanes[lane];
    let mut writer = FencedWriter::resume(bus, OutputLane::raw(&input.lane)).await?;
    let written = writer.position().map_or(0, |position| position.sequence);
    for index in usize::try_from(written)?..input.len() {
        let part = input.part(index);
        let covers = Position { incarnation: 1, sequence: index as u64 + 1, id: part.headers.id.clone() };
        writer.write(covers, vec![part], Books::default()).await?;
        tokio::time::sleep(PAUSE).await;
    }
    world.feeding.send_modify(|fed| fed[lane] = true);
    shutdown.requested().await;
    Ok(())
}
