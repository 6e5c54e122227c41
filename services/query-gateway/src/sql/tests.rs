mod answers;
mod isolation;
mod limits;
mod refusals;
mod scans;
mod world;
