//! The CRM's store on PostgreSQL 13 and newer.
