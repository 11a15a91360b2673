//! The TCP sockets of a process, as the system lists them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A socket over IPv4 or IPv6.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    state: String,
}

impl Socket {
    /// Those of the process `pid`; none where it is gone.
    pub(crate) fn of(pid: u32) -> Vec<Self> {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd"));
        let links = files.into_iter().flatten().flatten();
        let links: Vec<String> = links
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            .map(|link| link.display().to_string())
            .collect();
        ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .map(|table| std::fs::read_to_string(table).unwrap_or_default())
            .collect::<String>()
            .lines()
            .filter_map(|line| Self::parse(line, &links))
            .collect()
    }

    /// A line of the system's table, if it is of one of the sockets `links`.
    fn parse(line: &str, links: &[String]) -> Option<Self> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let inode = format!("socket:[{}]", fields.get(9)?);
        links.contains(&inode).then(|| Self {
            local: address(fields[1]),
            remote: address(fields[2]),
            state: fields[3].to_owned(),
        })
    }

    /// Whether it waits for connections.
    pub(crate) fn is_door(&self) -> bool {
        self.state == "0A"
    }

    /// Whether it is a connection that stands.
    pub(crate) fn is_line(&self) -> bool {
        self.state == "01"
    }
}

/// `0100007F:1F90` is 127.0.0.1:8080: each group of four bytes is a number in this machine's order.
fn address(text: &str) -> SocketAddr {
    let (ip, port) = text.split_once(':').unwrap();
    let group = |at: usize| u32::from_str_radix(&ip[at..at + 8], 16).unwrap();
    let bytes: Vec<u8> = (0..ip.len() / 8)
        .flat_map(|at| group(8 * at).to_ne_bytes())
        .collect();
    let ip = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(bytes) => IpAddr::V4(Ipv4Addr::from(bytes)),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..]).unwrap()).to_canonical(),
    };
    SocketAddr::new(ip, u16::from_str_radix(port, 16).unwrap())
}
