//! Networks: one key for each prefix length that some rule names, of the address cut to that length.

use std::net::IpAddr;

use ipnet::IpNet;

use super::table::mix;

/// The prefix lengths of a field's networks, ascending.
#[derive(Debug, Default)]
pub(super) struct Networks {
    pub(super) v4: Vec<u8>,
    pub(super) v6: Vec<u8>,
}

impl Networks {
    /// Takes note of a network's length.
    pub(super) fn add(&mut self, network: &IpNet) {
        let lengths = if matches!(network, IpNet::V4(_)) { &mut self.v4 } else { &mut self.v6 };
        if let Err(at) = lengths.binary_search(&network.prefix_len()) {
            lengths.insert(at, network.prefix_len());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Calls `with` with the key of each network that the address may be in.
    pub(super) fn each_key(&self, seed: u64, text: &str, with: &mut dyn FnMut(u64)) {
        let Ok(address) = text.parse::<IpAddr>() else { return };
        let lengths = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        for &length in lengths {
            with(address_key(seed, address, length));
        }
    }
}

/// The key of a network.
pub(super) fn key(seed: u64, network: &IpNet) -> u64 {
    address_key(seed, network.addr(), network.prefix_len())
}

fn address_key(seed: u64, address: IpAddr, length: u8) -> u64 {
    match address {
        IpAddr::V4(address) => {
            let bits = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0) & address.to_bits();
            mix(mix(seed, u64::from(length)), u64::from(bits))
        }
        IpAddr::V6(address) => {
            let bits = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0) & address.to_bits();
            mix(mix(mix(seed ^ 6, u64::from(length)), bits as u64), (bits >> 64) as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_key_of_every_network_it_is_in() {
        let networks = ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.0/24", "10.1.2.3/32", "::/0", "2001:db8::/32", "::1/128"];
        let mut known = Networks::default();
        let networks: Vec<IpNet> = networks.iter().map(|text| text.parse().unwrap()).collect();
        networks.iter().for_each(|network| known.add(network));
        for text in ["10.1.2.3", "10.1.2.4", "11.0.0.1", "2001:db8::7", "::1", "none"] {
            let mut keys = Vec::new();
            known.each_key(9, text, &mut |key| keys.push(key));
            for network in &networks {
                let within = text.parse::<IpAddr>().is_ok_and(|address| network.contains(&address));
                assert_eq!(keys.contains(&key(9, network)), within, "{text} in {network}");
            }
        }
    }
}
