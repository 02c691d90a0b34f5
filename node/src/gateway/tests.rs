//! Sockets, from outside: real WebSockets on loopback, with the real state behind them.

mod sockets;
mod talk;
mod world;
