//! What the format promises: what is written is read; damage, hostile numbers, faults and loss of power end
//! in an error or in a whole state, and never in a crash.

mod allocation;
mod crash;
mod damage;
mod document;
mod fixture;
mod hostile;
mod roundtrip;
