//! The CRM's store on MongoDB 6 and newer: a replica set or a sharded cluster.
