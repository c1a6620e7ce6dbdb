# What infect writes from the cloud image's running network.
{ ... }:
{
  networking = {
    hostName = "dev";
    usePredictableInterfaceNames = false;
    nameservers = [ "10.42.97.1" ];
    defaultGateway = "10.42.97.1";
    interfaces.eth0.ipv4.addresses = [{ address = "10.42.97.16"; prefixLength = 24; }];
  };
  services.udev.extraRules = ''
    ATTR{address}=="52:54:00:97:00:16", NAME="eth0"
  '';
}
