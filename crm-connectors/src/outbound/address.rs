use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is one of the public internet: unicast, global, and neither private nor set aside for another
/// use (IANA's special-purpose registries). An IPv6 address that carries an IPv4 address is what that one is.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [.., high, low] = segments;
    match segments {
        // Mapped, and the well-known prefix of NAT64.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(embedded(high, low)),
        // Teredo: its server, and its client with every bit turned over.
        [0x2001, 0, server_high, server_low, ..] => {
            is_public_v4(embedded(server_high, server_low)) && is_public_v4(embedded(!high, !low))
        }
        // 6to4.
        [0x2002, router_high, router_low, ..] => is_public_v4(embedded(router_high, router_low)),
        // Protocol assignments, documentation (twice), and the rest of 2000::/3, of which only this is given out.
        [0x2001, second, ..] if second < 0x200 => false,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().expect("an address"))
    }

    #[test]
    fn every_range_ends_where_it_ends() {
        for (outside, first, last, beyond) in [
            ("", "0.0.0.0", "0.255.255.255", "1.0.0.0"),
            ("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"),
            ("100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"),
            ("126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"),
            ("169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"),
            ("172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"),
            ("191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"),
            ("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"),
            ("192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"),
            ("192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"),
            ("198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"),
            ("198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"),
            ("203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"),
            ("223.255.255.255", "224.0.0.0", "255.255.255.255", ""),
            ("", "::", "::ffff", ""),
            ("", "64:ff9b:1::", "64:ff9b:1:ffff::", ""),
            ("", "100::", "100::ffff:ffff:ffff:ffff", ""),
            ("", "1fff:ffff::", "1fff:ffff:ffff::", "2000::"),
            ("", "2001:1::", "2001:1ff:ffff::", "2001:200::"),
            ("2001:db7:ffff::", "2001:db8::", "2001:db8:ffff::", "2001:db9::"),
            ("3ffe:ffff::", "3fff::", "3fff:fff:ffff::", "3fff:1000::"),
            ("", "4000::", "5f00::1", ""),
            ("", "fc00::", "fdff:ffff::", ""),
            ("", "fe80::", "febf:ffff::", ""),
            ("", "fec0::", "feff::", ""),
            ("", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
        ] {
            for inside in [first, last] {
                assert!(!public(inside), "{inside}");
            }
            for outside in [outside, beyond].into_iter().filter(|text| !text.is_empty()) {
                assert!(public(outside), "{outside}");
            }
        }
    }

    #[test]
    fn an_address_inside_another_is_found() {
        for inside in [
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            // The client 192.168.0.1, its bits turned over; then a private server.
            "2001:0:808:808:0:0:3f57:fffe",
            "2001:0:a00:1:0:0:f7f7:f7f7",
            "::1",
        ] {
            assert!(!public(inside), "{inside}");
        }
        for outside in
            ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", "2001:0:808:808:0:0:f7f7:f7f7", "2606:4700::1111"]
        {
            assert!(public(outside), "{outside}");
        }
    }

    proptest! {
        #[test]
        fn the_standard_library_agrees_on_what_it_knows(bits in any::<u32>()) {
            let address = Ipv4Addr::from_bits(bits);
            let inside = address.is_private() || address.is_loopback() || address.is_link_local()
                || address.is_broadcast() || address.is_documentation() || address.is_unspecified()
                || address.is_multicast();
            prop_assert!(!inside || !is_public(address.into()), "{address}");
            prop_assert_eq!(is_public(address.into()), is_public(address.to_ipv6_mapped().into()));
        }

        #[test]
        fn only_unicast_is_public(bits in any::<u128>()) {
            let address = Ipv6Addr::from_bits(bits);
            let inside = address.is_loopback() || address.is_multicast() || address.is_unique_local()
                || address.is_unicast_link_local() || address.is_unspecified();
            prop_assert!(!inside || !is_public(address.into()), "{address}");
        }
    }
}
