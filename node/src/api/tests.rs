//! Tests of the routes, without a cluster.
