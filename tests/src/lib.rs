//! Scenes and how their results are read.
//!
//! A *scene* is a short story about one behaviour, written in Python under `scenes/<word>/` and played inside the test
//! machine by `scenes/run.py`, many in one boot. This crate finds the scenes by reading those files, so that each is a
//! test of its own, and reads the KTAP that the machine brings back.
//!
//! | module | subject |
//! | --- | --- |
//! | [`scenes`] | which scenes there are, and which boot plays them |
//! | [`ktap`] | results in the kernel's test protocol |

pub mod ktap;
pub mod scenes;
