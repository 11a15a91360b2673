//! How the ranks come together: the store, the roll call, the heartbeat, the group. All of it within the timeout, and
//! until a signal asks for the end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::card::Card;
use super::env::{Launch, Rendezvous};
use super::heartbeat::{self, Heartbeat};
use super::liveness::Pace;
use super::roll::Roll;
use super::store::{Patience, Server, Store, StoreError, StoreOptions, resolve};
use super::{DistributedError, Terms};
use crate::torch::TorchError;
use crate::torch::process_group::{Group, GroupOptions, KeyValue};

/// What the rest of the meeting gets at least, where the roll call took nearly all the time.
const AT_LEAST: Duration = Duration::from_secs(5);

/// The steps by which the ranks come together.
#[derive(Debug)]
pub(super) struct Meeting<'a> {
    launch: &'a Launch,
    terms: &'a Terms<'a>,
    pace: Pace,
    patience: Patience,
}

impl<'a> Meeting<'a> {
    pub(super) fn new(launch: &'a Launch, terms: &'a Terms<'a>) -> Self {
        Self {
            launch,
            terms,
            pace: Pace::new(terms.timeout),
            patience: Patience::new(terms.timeout, terms.stop.clone()),
        }
    }

    /// Whether this process serves the store.
    pub(super) fn serves(&self) -> bool {
        self.launch.rendezvous.rank_0_serves && self.launch.place.rank == 0
    }

    fn error(&self, source: StoreError) -> DistributedError {
        let (rank, rendezvous) = (self.launch.place.rank, &self.launch.rendezvous);
        match source {
            StoreError::Stopped => DistributedError::Stopped { rank },
            source => DistributedError::Rendezvous {
                rank,
                host: rendezvous.host.clone(),
                port: rendezvous.port,
                server: if rendezvous.rank_0_serves {
                    "rank 0"
                } else {
                    "the launcher"
                },
                source,
            },
        }
    }

    /// Serves the store, where that is this rank's part.
    pub(super) fn serve(&self) -> Result<Option<Server>, DistributedError> {
        if !self.serves() {
            return Ok(None);
        }
        let rendezvous = &self.launch.rendezvous;
        let addresses = self.addresses()?;
        let server = listen(&addresses, rendezvous).and_then(|listener| {
            let world_size = self.launch.place.world_size;
            Server::start(listener, rendezvous.secret.clone(), world_size)
        });
        let port = rendezvous.port;
        let server = server.map_err(|source| self.error(StoreError::Bind { port, source }))?;
        Ok(Some(server))
    }

    /// Where to listen, if not everywhere. Ranks of one machine need nobody from outside: they meet at the one address they
    /// were told. Others may know this machine by another address than it does itself.
    fn addresses(&self) -> Result<Vec<SocketAddr>, DistributedError> {
        let rendezvous = &self.launch.rendezvous;
        let place = self.launch.place;
        if place.local_world_size < place.world_size {
            return Ok(Vec::new());
        }
        let told = resolve(&rendezvous.host, rendezvous.port, &self.patience);
        told.map_err(|source| {
            self.error(match self.patience.stop.is_requested() {
                true => StoreError::Stopped,
                false => StoreError::Name {
                    variable: rendezvous.host_variable,
                    host: rendezvous.host.clone(),
                    source,
                },
            })
        })
    }

    /// A connection to the store; to the own one by the shortest way.
    pub(super) fn store(&self, server: Option<&Server>) -> Result<Store, DistributedError> {
        self.connect(server, Duration::ZERO)
    }

    fn connect(
        &self,
        server: Option<&Server>,
        at_least: Duration,
    ) -> Result<Store, DistributedError> {
        let rendezvous = &self.launch.rendezvous;
        let own = server.map(|server| own_way(server.address()));
        let host = own.map(|address| address.ip().to_string());
        let options = StoreOptions {
            host: host.as_ref().unwrap_or(&rendezvous.host),
            host_variable: rendezvous.host_variable,
            port: own.map_or(rendezvous.port, |address| address.port()),
            prefix: &rendezvous.prefix,
            secret: rendezvous.secret.as_ref(),
            timeout: self.terms.timeout,
        };
        let patience = Patience {
            deadline: self.patience.deadline.max(Instant::now() + at_least),
            ..self.patience.clone()
        };
        Store::connect(&options, &patience).map_err(|source| self.error(source))
    }

    /// Shows this rank to the others and waits until all have come and are alike; says who is missing or differs.
    pub(super) fn join(&self, store: &Store) -> Result<(), DistributedError> {
        let place = self.launch.place;
        let card = Card {
            world_size: place.world_size,
            process: process(),
            ..self.terms.card.clone()
        };
        let roll = Roll {
            rank: place.rank,
            card: &card,
            patience: &self.patience,
            margin: self.pace.grace + Duration::from_secs(2),
            timeout: self.terms.timeout,
            launched_by: self.launch.rendezvous.launched_by,
        };
        let agreed = match roll.answer(store) {
            Ok(verdict) => verdict,
            Err(error) => Err(self.error(error)),
        };
        if let Err(error) = &agreed {
            store.ignore_signals();
            heartbeat::tell_at_meeting(store, place.rank, error);
            if self.serves() {
                // The store ends with this process; the others read it first.
                std::thread::sleep(self.pace.grace);
            }
        }
        agreed
    }

    pub(super) fn heartbeat(&self, server: Option<&Server>) -> Result<Heartbeat, DistributedError> {
        let store = self.connect(server, AT_LEAST)?;
        store.ignore_signals();
        let rendezvous = &self.launch.rendezvous;
        let watch = heartbeat::Watcher {
            place: self.launch.place,
            rank_0_serves: rendezvous.rank_0_serves,
            pace: self.pace,
            stop: self.terms.stop.clone(),
        };
        Heartbeat::start(store, watch).map_err(|source| self.error(StoreError::Lost { source }))
    }

    pub(super) fn group(&self, store: &Arc<Store>) -> Result<Group, TorchError> {
        let place = self.launch.place;
        let options = GroupOptions {
            rank: place.rank,
            world_size: place.world_size,
            timeout: self.terms.timeout,
            address: &self.own_address(),
            interface: &std::env::var("GLOO_SOCKET_IFNAME").unwrap_or_default(),
        };
        let store: Arc<dyn KeyValue> = Arc::clone(store) as _;
        let group = Group::connect(store, &options)?;
        if self.terms.device.is_cuda() {
            group.add_nccl()?;
        }
        Ok(group)
    }

    /// The address from which this machine reaches the store: where the others reach it, too.
    fn own_address(&self) -> String {
        let rendezvous = &self.launch.rendezvous;
        let addresses = resolve(&rendezvous.host, rendezvous.port, &self.patience);
        let local = addresses
            .unwrap_or_default()
            .into_iter()
            .filter_map(|address| {
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

/// At the first of `addresses`, unless that is none of this machine, or there is none: then everywhere.
fn listen(addresses: &[SocketAddr], rendezvous: &Rendezvous) -> std::io::Result<TcpListener> {
    match addresses.first().map(TcpListener::bind) {
        Some(Err(error)) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
            tracing::warn!(
                "{}={} is no address of this machine, on which all ranks are: the others may not find this one there",
                rendezvous.host_variable,
                rendezvous.host
            );
        }
        Some(bound) => return bound,
        None => {}
    }
    let everywhere: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
    let addresses = everywhere.map(|ip| SocketAddr::new(ip, rendezvous.port));
    TcpListener::bind(&addresses[..])
}

/// Where this process reaches what it serves itself at `address`.
fn own_way(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// This process, for messages of others.
fn process() -> String {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    format!("process {} on {host}", std::process::id())
}
