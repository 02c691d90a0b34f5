//! The cases that the routing engine must reproduce.

use anyhow::Result;

use super::case::{Case, Rates, erlang, fixed_ratio, load, n_model, priorities};

fn rates(mu: f64, theta: f64, agents: u32) -> Rates {
    Rates {
        mu,
        theta,
        agents,
        slots: 1,
    }
}

/// All of them.
pub fn cases() -> Result<Vec<Case>> {
    let chats = Rates {
        slots: 3,
        ..rates(0.125, 0.5, 10)
    };
    Ok(vec![
        erlang(4.0, rates(1.0, 0.0, 5), 0.5)?,
        erlang(8.0, rates(1.0, 0.0, 10), 0.5)?,
        erlang(100.0, rates(1.0, 0.0, 105), 0.1)?,
        erlang(4.0, rates(1.0, 0.5, 5), 0.5)?,
        erlang(10.0, rates(1.0, 0.5, 10), 1.0 / 3.0)?,
        erlang(12.0, rates(1.0, 0.5, 10), 1.0 / 3.0)?,
        erlang(105.0, rates(1.0, 2.0, 100), 0.1)?,
        erlang(3.6, chats, 0.5)?,
        priorities(&[3.0, 5.0], rates(1.0, 0.0, 10))?,
        priorities(&[4.0, 6.0], rates(1.0, 0.5, 10))?,
        n_model([4.0, 3.0], rates(1.0, 0.5, 7), 3)?,
        fixed_ratio([4.0, 6.0], [0.2, 0.8], rates(1.0, 0.5, 10))?,
        load(100.0, 60.0, 24.0, 1.0)?,
    ])
}
