//! Makes a small authority and the certificates of nodes.
