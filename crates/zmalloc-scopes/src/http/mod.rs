//! Services of HTTP whose requests run in scopes with a budget, exactly.
//!
//! The connection allocates a request's head and body, and frees the response's: each such crossing would leave a scope
//! a little off, and after a day a tenant's live bytes would say nothing. So at the border of [`HttpBudgetLayer`]
//!
//! - a request's head is copied into the scope, and its body chunk by chunk as the service reads it; what the connection
//!   allocated is freed in the scope that the connection is in, or outside;
//! - a response's head is copied out of the scope, and its body's chunks stay the scope's until they were sent, which
//!   frees them in it;
//! - the future, and the response's body, are polled and dropped in it.
//!
//! So when all requests of a scope have ended, it holds what the service keeps for it, to the byte. What lies in a head's
//! `extensions` crosses as it is: put the layer outermost, around a router, not inside.

mod body;
mod head;
mod layer;
mod place;

pub use body::{RequestBody, ResponseBody};
pub use layer::{HttpBudgetLayer, HttpBudgetResponse, HttpBudgetService};
