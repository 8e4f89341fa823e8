//! The relay as a process, one module for each thing that happens to it.

mod audit;
mod crash;
mod deploy;
mod disk;
mod drain;
mod folder;
mod handover;
mod observe;
mod reload;
mod slow;
mod sync;
mod tls;
