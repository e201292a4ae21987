//! x
#![allow(dead_code)]
mod demo { pub mod document; }
fn main(){}
