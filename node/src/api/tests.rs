//! Tests of the routes over routing's real state, in one process, without a cluster.

mod admin;
mod authorisation;
mod bad_input;
mod company;
mod document;
mod life;
mod parts;
mod policy;
mod rig;
