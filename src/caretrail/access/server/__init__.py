"""The embedded authorization server: sign-in, OAuth 2.0, OpenID Connect and SMART App Launch."""
