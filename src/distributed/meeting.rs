//! How the ranks come together: the store, the roll call, the heartbeat, the group.

use std::net::{ToSocketAddrs, UdpSocket};
use std::time::Duration;

use tch::Device;

use super::DistributedError;
use super::env::Launch;
use super::heartbeat::{self, Heartbeat};
use super::liveness::Pace;
use crate::torch::TorchError;
use crate::torch::process_group::{Group, GroupOptions, Store, StoreOptions};

/// The ranks that did not come, as text; empty when all came. Set by rank 0.
const ABSENT: &str = "absent";

/// The steps by which the ranks come together.
#[derive(Debug)]
pub(super) struct Meeting<'a> {
    launch: &'a Launch,
    timeout: Duration,
    pace: Pace,
}

impl<'a> Meeting<'a> {
    pub(super) fn new(launch: &'a Launch, timeout: Duration) -> Self {
        Self {
            launch,
            timeout,
            pace: Pace::new(timeout),
        }
    }

    fn error(&self, source: TorchError) -> DistributedError {
        let rendezvous = &self.launch.rendezvous;
        DistributedError::Rendezvous {
            rank: self.launch.place.rank,
            host: rendezvous.host.clone(),
            port: rendezvous.port,
            source,
        }
    }

    pub(super) fn store(&self, is_server: bool) -> Result<Store, DistributedError> {
        let rendezvous = &self.launch.rendezvous;
        let options = StoreOptions {
            host: &rendezvous.host,
            port: rendezvous.port,
            is_server,
            prefix: &rendezvous.prefix,
            timeout: self.timeout,
        };
        Store::connect(&options).map_err(|source| self.error(source))
    }

    /// Shows this rank to the others and waits for all; says who is missing.
    ///
    /// Rank 0 calls the roll and tells the others, because it may give up, and the store with it, before they do.
    pub(super) fn join(&self, store: &Store) -> Result<(), DistributedError> {
        let rank = self.launch.place.rank;
        let shown = heartbeat::prepare(store, rank).and_then(|()| store.set(&joined(rank), "yes"));
        shown.map_err(|source| self.error(source))?;
        if rank == 0 {
            return self.call_the_roll(store);
        }
        match store.get_all(&[ABSENT.to_owned()]) {
            Ok(absent) => self.require_nobody(&absent.concat()),
            Err(source) => {
                self.require_nobody(&self.absent(store))?;
                Err(self.error(source))
            }
        }
    }

    fn call_the_roll(&self, store: &Store) -> Result<(), DistributedError> {
        let keys: Vec<_> = (0..self.launch.place.world_size).map(joined).collect();
        let all_came = store.get_all(&keys);
        let absent = if all_came.is_ok() {
            String::new()
        } else {
            self.absent(store)
        };
        let told = store.set(ABSENT, &absent);
        if absent.is_empty() {
            return all_came.and(told).map_err(|source| self.error(source));
        }
        // The store ends with this process; the others read it first.
        std::thread::sleep(self.pace.grace);
        self.require_nobody(&absent)
    }

    /// The ranks that have not come so far, with commas between; nobody if the store does not say.
    fn absent(&self, store: &Store) -> String {
        let is_absent = |rank: &usize| store.has(&joined(*rank)).is_ok_and(|is_there| !is_there);
        let ranks = (0..self.launch.place.world_size).filter(is_absent);
        let ranks: Vec<_> = ranks.map(|rank| rank.to_string()).collect();
        ranks.join(", ")
    }

    fn require_nobody(&self, absent: &str) -> Result<(), DistributedError> {
        if absent.is_empty() {
            return Ok(());
        }
        Err(DistributedError::Absent {
            ranks: absent.to_owned(),
            seconds: self.timeout.as_secs(),
        })
    }

    pub(super) fn heartbeat(&self) -> Result<Heartbeat, DistributedError> {
        let place = self.launch.place;
        let rank_0_serves = self.launch.rendezvous.rank_0_serves;
        let store = self.store(false)?;
        let started = Heartbeat::start(
            store,
            place.rank,
            place.world_size,
            rank_0_serves,
            self.pace,
        );
        started.map_err(|source| {
            let message = format!("cannot start the heartbeat: {source}");
            self.error(TorchError { message })
        })
    }

    pub(super) fn group(&self, store: &Store, device: Device) -> Result<Group, TorchError> {
        let place = self.launch.place;
        let options = GroupOptions {
            rank: place.rank,
            world_size: place.world_size,
            timeout: self.timeout,
            address: &self.own_address(),
            interface: &std::env::var("GLOO_SOCKET_IFNAME").unwrap_or_default(),
        };
        let group = Group::connect(store, &options)?;
        if device.is_cuda() {
            group.add_nccl()?;
        }
        Ok(group)
    }

    /// The address from which this machine reaches the store: where the others reach it, too.
    fn own_address(&self) -> String {
        let rendezvous = &self.launch.rendezvous;
        let target = (rendezvous.host.as_str(), rendezvous.port);
        let addresses = target.to_socket_addrs().into_iter().flatten();
        let local = addresses.filter_map(|address| {
            let any = if address.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let socket = UdpSocket::bind(any).ok()?;
            socket.connect(address).ok()?;
            Some(socket.local_addr().ok()?.ip())
        });
        let place = self.launch.place;
        let spans_machines = place.local_world_size < place.world_size;
        match local.into_iter().next() {
            Some(ip) => {
                if spans_machines && ip.is_loopback() {
                    tracing::warn!(
                        host = rendezvous.host,
                        "this host's name leads to a loopback address, which other machines cannot reach: \
                         set MASTER_ADDR to an address of the network, or GLOO_SOCKET_IFNAME to its interface"
                    );
                }
                ip.to_string()
            }
            None => rendezvous.host.clone(),
        }
    }
}

fn joined(rank: usize) -> String {
    format!("joined/{rank}")
}
