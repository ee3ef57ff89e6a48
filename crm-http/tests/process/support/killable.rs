use crm_test_servers::{Mongo, NoServer, Postgres, RabbitMq, Redis};

/// A server that ours needs, which can be killed and started again.
pub(crate) trait Killable {
    fn kill(&mut self) -> Result<(), NoServer>;
    fn start_again(&mut self) -> Result<(), NoServer>;
}

macro_rules! killable {
    ($($server:ident)+) => {$(
        impl Killable for $server {
            fn kill(&mut self) -> Result<(), NoServer> {
                Self::kill(self)
            }

            fn start_again(&mut self) -> Result<(), NoServer> {
                Self::start_again(self)
            }
        }
    )+};
}
killable! { Mongo Postgres RabbitMq Redis }
