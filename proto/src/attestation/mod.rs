//! What agents and servers send each other to attest a node, one module for each kind of
//! attestation. The bytes travel in `AttestationData.payload` and in challenges; most kinds write
//! them as Go writes JSON.

mod go_bytes;
pub mod x509pop;
