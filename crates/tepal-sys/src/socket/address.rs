//! Addresses of sockets, in a form that asks nothing more of the kernel.

use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The address of a socket, or of its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// IPv4: host and port.
    V4(Ipv4Addr, u16),
    /// IPv6: host, port, flow information and scope.
    V6(Ipv6Addr, u16, u32, u32),
    /// A path in the file system.
    Path(Box<[u8]>),
    /// A name in Linux's abstract namespace, with its leading zero byte.
    Abstract(Box<[u8]>),
    /// No name: an unbound Unix socket, or a family that we do not know.
    Unnamed,
}

impl Address {
    pub(super) fn from_peer(peer: Option<SocketAddrAny>) -> Self {
        peer.map_or(Self::Unnamed, Self::from)
    }
}

/// An IPv6 address as inet_ntop(3) writes it, and with it every program that asks the C library: an IPv4 address in its
/// last four bytes is shown as one also where only zeros stand before it, which Rust writes in hexadecimal.
#[must_use]
pub fn ipv6_text(host: &Ipv6Addr) -> String {
    let segments = host.segments();
    if segments[..6] == [0; 6] && segments[6] != 0 {
        let [.., a, b, c, d] = host.octets();
        return format!("::{}", Ipv4Addr::new(a, b, c, d));
    }
    host.to_string()
}

impl From<SocketAddrAny> for Address {
    fn from(any: SocketAddrAny) -> Self {
        match any.address_family() {
            AddressFamily::INET => rustix::net::SocketAddrV4::try_from(any)
                .map_or(Self::Unnamed, |address| {
                    Self::V4(*address.ip(), address.port())
                }),
            AddressFamily::INET6 => {
                rustix::net::SocketAddrV6::try_from(any).map_or(Self::Unnamed, |address| {
                    // The kernel keeps the flow information in network order, and `socket` shows it in the host's.
                    Self::V6(
                        *address.ip(),
                        address.port(),
                        u32::from_be(address.flowinfo()),
                        address.scope_id(),
                    )
                })
            }
            AddressFamily::UNIX => SocketAddrUnix::try_from(any).map_or(Self::Unnamed, from_unix),
            _ => Self::Unnamed,
        }
    }
}

fn from_unix(address: SocketAddrUnix) -> Address {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = address.abstract_name().filter(|name| !name.is_empty()) {
        let mut bytes = vec![0];
        bytes.extend_from_slice(name);
        return Address::Abstract(bytes.into());
    }
    match address.path() {
        Some(path) if !path.is_empty() => Address::Path(path.to_bytes().into()),
        _ => Address::Unnamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_the_c_library_writes_it() {
        for text in [
            "::",
            "::1",
            "::ffff",
            "::1.2.3.4",
            "::ffff:1.2.3.4",
            "fe80::1",
            "2001:db8::1:0:0:1",
            "1::",
        ] {
            let host: Ipv6Addr = text.parse().unwrap();
            assert_eq!(ipv6_text(&host), text);
        }
    }
}
