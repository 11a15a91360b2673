//! The secret of a store, and how client and server show each other that they know it without saying it.

use std::fmt;
use std::io::{self, Read, Write};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::wire::{nonsense, read_array};

/// Names the variable with the secret of the store; whoever serves the store and whoever uses it must have the same.
pub const SECRET_VARIABLE: &str = "RECAP_STORE_SECRET";

/// What a client with a secret says first.
const HELLO: &[u8; 8] = b"recap 1\n";
const WELCOME: u8 = 1;
const NONCE_BYTES: usize = 32;
const PROOF_BYTES: usize = 32;

/// What only the processes of one run know.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

impl Secret {
    /// A new one, of 128 random bits.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes)?;
        let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
        Ok(Self(digits.collect::<String>().into_bytes()))
    }

    /// As a user or the launcher gives it; any text but none.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.as_bytes().to_vec()))
    }

    /// For the environment of the ranks.
    #[must_use]
    pub fn to_text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    fn mac(&self, who: &[u8], nonces: &[[u8; NONCE_BYTES]; 2]) -> io::Result<Hmac<Sha256>> {
        let keyed = Hmac::<Sha256>::new_from_slice(&self.0);
        let mut mac = keyed.map_err(|error| nonsense(error.to_string()))?;
        mac.update(who);
        mac.update(&nonces[0]);
        mac.update(&nonces[1]);
        Ok(mac)
    }

    /// The client's half: proves that it knows the secret, to a server that proves the same.
    pub(super) fn meet_server(&self, line: &mut (impl Read + Write)) -> io::Result<()> {
        let own = nonce()?;
        line.write_all(&[&HELLO[..], &own[..]].concat())?;
        let nonces = [own, read_array(line)?];
        let proof: [u8; PROOF_BYTES] = read_array(line)?;
        let shown = self.mac(b"server", &nonces)?.verify_slice(&proof);
        shown.map_err(|_| nonsense(format!("it has another {SECRET_VARIABLE}")))?;
        line.write_all(&self.mac(b"client", &nonces)?.finalize().into_bytes())?;
        match read_array(line)? {
            [WELCOME] => Ok(()),
            [other] => Err(nonsense(format!("{other} is no welcome"))),
        }
    }

    /// The server's half.
    pub(super) fn meet_client(&self, line: &mut (impl Read + Write)) -> io::Result<()> {
        let hello: [u8; HELLO.len()] = read_array(line)?;
        if hello != *HELLO {
            return Err(nonsense("a stranger".to_owned()));
        }
        let nonces = [read_array(line)?, nonce()?];
        let proof = self.mac(b"server", &nonces)?.finalize().into_bytes();
        line.write_all(&[&nonces[1][..], &proof[..]].concat())?;
        let proof: [u8; PROOF_BYTES] = read_array(line)?;
        let shown = self.mac(b"client", &nonces)?.verify_slice(&proof);
        shown.map_err(|_| nonsense("another secret".to_owned()))?;
        line.write_all(&[WELCOME])
    }
}

fn nonce() -> io::Result<[u8; NONCE_BYTES]> {
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn meet(client: &Secret, server: Secret) -> [bool; 2] {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let serving = std::thread::spawn(move || server.meet_client(&mut far).is_ok());
        let came = client.meet_server(&mut near).is_ok();
        drop(near);
        [came, serving.join().unwrap()]
    }

    #[test]
    fn only_who_knows_the_secret_comes_in() {
        let secret = Secret::random().unwrap();
        assert_eq!(meet(&secret, secret.clone()), [true, true]);
        assert_eq!(meet(&secret, Secret::random().unwrap()), [false, false]);
        assert_eq!(Secret::from_text(&secret.to_text()), Some(secret.clone()));
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(Secret::from_text(""), None);
    }
}
