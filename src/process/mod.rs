//! Children: started, listened to, ended, and proven to have ended well.
