//! One node of Ceph with its S3 gateway, all in memory: the store that lies in versioned buckets.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::{BucketVersioningStatus, VersioningConfiguration},
};

use super::tools::{Daemon, free_port};

const USER: &str = "backstay-tests";
const SECRET: &str = "a-secret-of-the-tests";

/// The running daemons. Fields are dropped in this order: the gateway ends first.
pub(crate) struct Rgw {
    _gateway: Daemon,
    _osd: Daemon,
    _mon: Daemon,
    dir: tempfile::TempDir,
    port: u16,
}

impl Rgw {
    /// Needs the Debian packages radosgw, ceph-mon, ceph-osd and ceph-common.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (ceph, port) = (Ceph::new(dir.path()), free_port());
        let mon = ceph.monitor();
        let osd = ceph.osd();
        let user = ["user", "create", "--uid=t", "--display-name=t"];
        let keys = [format!("--access-key={USER}"), format!("--secret-key={SECRET}")];
        ceph.run("radosgw-admin", user.into_iter().chain(keys.iter().map(String::as_str)));
        let frontend = format!("--rgw_frontends=beast endpoint=127.0.0.1:{port}");
        let args = ["-n", "client.admin", "-f", &frontend];
        let gateway = Daemon::start("radosgw", dir.path(), ceph.command("radosgw").args(args));
        let address = ([127, 0, 0, 1], port).into();
        gateway.wait_until("the gateway listens", Duration::from_mins(2), || {
            TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
        });
        let keys =
            format!("[default]\naws_access_key_id = {USER}\naws_secret_access_key = {SECRET}\n");
        fs::write(dir.path().join("credentials"), keys).unwrap();
        Self { _gateway: gateway, _osd: osd, _mon: mon, dir, port }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn credentials_file(&self) -> PathBuf {
        self.dir.path().join("credentials")
    }

    /// A plain client, to look behind the back of what is tested.
    pub(crate) fn client(&self) -> Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(self.endpoint())
            .force_path_style(true)
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new(USER, SECRET, None, None, "tests"));
        Client::from_conf(config.build())
    }

    pub(crate) async fn bucket(&self, name: &str, versioned: bool) {
        let client = self.client();
        client.create_bucket().bucket(name).send().await.unwrap();
        if versioned {
            let enabled =
                VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
            let put = client.put_bucket_versioning().bucket(name).versioning_configuration(enabled);
            put.send().await.unwrap();
        }
    }
}

/// The cluster's folder, and commands in it.
struct Ceph<'a> {
    dir: &'a Path,
    id: String,
    mon_port: u16,
}

impl<'a> Ceph<'a> {
    fn new(dir: &'a Path) -> Self {
        for folder in ["mon", "osd", "run"] {
            fs::create_dir(dir.join(folder)).unwrap();
        }
        let id = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().to_owned();
        let ceph = Self { dir, id, mon_port: free_port() };
        // Daemons of the cluster find ports by themselves, so the range is narrow and its place free.
        // A monitor ends without a word where less than 5 % of the disk is free, however much that is.
        let low = 20_000 + free_port() % 10_000;
        let (id, mon, high, d) = (&ceph.id, ceph.mon_port, low + 60, dir.display());
        let config = format!(
            "[global]\nfsid = {id}\nmon_host = v2:127.0.0.1:{mon}\nmon_initial_members = a\n\
             public_addr = 127.0.0.1\ncluster_addr = 127.0.0.1\n\
             ms_bind_port_min = {low}\nms_bind_port_max = {high}\nms_bind_msgr1 = false\n\
             auth_cluster_required = cephx\nauth_service_required = cephx\n\
             auth_client_required = cephx\nosd_pool_default_size = 1\n\
             osd_pool_default_min_size = 1\nosd_crush_chooseleaf_type = 0\n\
             osd_pool_default_pg_num = 8\nosd_pool_default_pg_autoscale_mode = off\n\
             mon_allow_pool_size_one = true\nosd_objectstore = memstore\n\
             mon_data_avail_warn = 0\nmon_data_avail_crit = 0\n\
             memstore_device_bytes = 1073741824\nrun_dir = {d}/run\n\
             admin_socket = {d}/run/$name.$pid.asok\nlog_file = {d}/$name.ceph.log\n\
             mon_data = {d}/mon\nosd_data = {d}/osd\nosd_class_load_list = *\n"
        );
        fs::write(dir.join("ceph.conf"), config).unwrap();
        ceph
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir).args(["-c", "ceph.conf", "--keyring", "keyring"]);
        command
    }

    fn output(mut command: Command) -> std::process::Output {
        let program = command.get_program().to_owned();
        let program = program.display();
        command.output().unwrap_or_else(|error| panic!("{program}: {error}: run ./dev setup"))
    }

    fn checked(command: Command) -> String {
        let text = format!("{command:?}");
        let output = Self::output(command);
        assert!(output.status.success(), "{text}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn run<'s>(&self, program: &str, args: impl IntoIterator<Item = &'s str>) -> String {
        let mut command = self.command(program);
        command.args(args);
        Self::checked(command)
    }

    /// Tools that make files, and know nothing of a cluster.
    fn make<const N: usize>(&self, program: &str, args: [&str; N]) {
        let mut command = Command::new(program);
        command.current_dir(self.dir).args(args);
        Self::checked(command);
    }

    fn monitor(&self) -> Daemon {
        self.make(
            "ceph-authtool",
            ["--create-keyring", "keyring", "--gen-key", "-n", "mon.", "--cap", "mon", "allow *"],
        );
        self.make(
            "ceph-authtool",
            [
                "keyring",
                "--gen-key",
                "-n",
                "client.admin",
                "--cap",
                "mon",
                "allow *",
                "--cap",
                "osd",
                "allow *",
                "--cap",
                "mgr",
                "allow *",
            ],
        );
        let address = format!("[v2:127.0.0.1:{}]", self.mon_port);
        self.make(
            "monmaptool",
            ["--create", "--fsid", &self.id, "--addv", "a", &address, "monmap"],
        );
        self.run("ceph-mon", ["-i", "a", "--mkfs", "--monmap", "monmap"]);
        let daemon =
            Daemon::start("ceph-mon", self.dir, self.command("ceph-mon").args(["-i", "a", "-f"]));
        daemon.wait_until("the monitor answers", Duration::from_mins(1), || {
            let mut command = self.command("ceph");
            command.args(["--connect-timeout", "5", "-s"]);
            Self::output(command).status.success()
        });
        daemon
    }

    fn osd(&self) -> Daemon {
        self.run("ceph", ["osd", "create"]);
        let caps = ["mon", "allow profile osd", "osd", "allow *", "mgr", "allow profile osd"];
        let key = self.run("ceph", ["auth", "get-or-create", "osd.0"].into_iter().chain(caps));
        let mut keyring = fs::read_to_string(self.dir.join("keyring")).unwrap();
        keyring.push_str(&key);
        fs::write(self.dir.join("keyring"), keyring).unwrap();
        self.run("ceph-osd", ["-i", "0", "--mkfs"]);
        self.run("ceph", ["osd", "crush", "add", "osd.0", "1.0", "root=default", "host=h0"]);
        let daemon =
            Daemon::start("ceph-osd", self.dir, self.command("ceph-osd").args(["-i", "0", "-f"]));
        daemon.wait_until("the OSD is up", Duration::from_mins(1), || {
            self.run("ceph", ["osd", "stat"]).contains("1 up")
        });
        daemon
    }
}
