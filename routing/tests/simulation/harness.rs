//! The simulated log, its leaders and its clients: what the tests of the simulation and of the known bugs share.

mod clients;
#[allow(dead_code)] // the strategy of whole steps is for the properties
#[path = "../properties/deeds.rs"]
mod deeds;
mod faults;
mod healing;
mod leader;
mod log;
#[path = "../oracle/naive.rs"]
mod naive;
mod oracle;
#[allow(dead_code)] // sums over many runs are for the simulation alone
pub mod run;
mod world;
