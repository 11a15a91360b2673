//! Black-box tests of the whole program, in one binary because linking libtorch takes time.
mod distributed;
