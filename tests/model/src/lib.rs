//! The hard protocols as models, checked by looking at every state they can get into. The models are the tests, one module each.
