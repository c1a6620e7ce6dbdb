# What infect writes: who may log in as root, taken over from the cloud image.
{ ... }:
{
  users.users.root.openssh.authorizedKeys.keys = [ ];
}
